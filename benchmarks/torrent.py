"""Torrents against plain HTTP, their memory, and what kills cost, all on loopback addresses.

    python benchmarks/torrent.py --folder /big/disk --json torrent.json
    python benchmarks/torrent.py --folder /big/disk --only kills --mebibytes 1024 --kills 20

throughput: one file of noise, fetched by our `fetch` from one seed, and by HTTP followed by sha256, in turns; each side is a
process of its own, and so is its server; neither waits for the disk (fsync). Seconds are from the start of the transfer to the
verified file; the ratio is HTTP's seconds over ours, the median over --repeats. memory: the highest resident size of the
fetching process and of the seed for a sparse file of --gigabytes (all zeros: the pieces are hashed and sent like any). kills: the
fetching process is killed (SIGKILL) --kills times, each after its share of the bytes; what the seed sent beyond the file's size
was fetched twice, or was on its way.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import libtorrent as lt
from torrent_roles import sent_by

PIECES = 2048  # at most, as a release has them


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder to work in, removed at the end")
    parser.add_argument("--only", choices=("throughput", "memory", "kills"))
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--gigabytes", type=float, default=14.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if any(asked.folder.iterdir()):
        parser.error(f"{asked.folder} is not empty, and would be removed at the end; name another")
    report: dict[str, Any] = {"libtorrent": lt.__version__, "cores": os.cpu_count(), "load": os.getloadavg()}
    try:
        if asked.only in (None, "throughput", "kills"):
            release = made(asked.folder / "release", asked.mebibytes << 20, sparse=False)
        if asked.only in (None, "throughput"):
            report["throughput"] = throughput(release, asked.folder / "got", asked.repeats)
        if asked.only in (None, "kills"):
            report["kills"] = kills(release, asked.folder / "got", asked.kills)
        if asked.only in (None, "memory"):
            report["memory"] = memory(
                made(asked.folder / "sparse", int(asked.gigabytes * 1e9), sparse=True), asked.folder / "got"
            )
    finally:
        shutil.rmtree(asked.folder)
    text = json.dumps(report, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    return 0


def made(folder: Path, size: int, *, sparse: bool) -> Path:
    """The .torrent of a folder with one file of `size` bytes."""
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        if sparse:
            file.truncate(size)
        else:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
    piece = 1 << 15
    while piece * PIECES < size:
        piece *= 2
    torrent = lt.create_torrent([lt.create_file_entry(f"{folder.name}/model.safetensors", size)], piece)
    lt.set_piece_hashes(torrent, str(folder.parent))
    path = folder.with_suffix(".torrent")
    path.write_bytes(lt.bencode(torrent.generate()))
    return path


def start(role: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("torrent_roles.py")), role, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a role: one JSON object."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process of the benchmark ended early; see its message above")
    return dict(json.loads(line))


def throughput(torrent: Path, got: Path, repeats: int) -> dict[str, Any]:
    size = (torrent.with_suffix("") / "model.safetensors").stat().st_size
    seconds: dict[str, list[float]] = {"torrent": [], "http": []}
    for repeat in range(repeats):
        for way in ("torrent", "http")[:: 1 if repeat % 2 else -1]:
            server = start("seed" if way == "torrent" else "serve", torrent)
            where = said(server)["address"]
            client = start("fetch" if way == "torrent" else "get", torrent, got, where)
            seconds[way].append(said(client)["seconds"])
            client.wait()
            stop(server)
            shutil.rmtree(got)
    ratios = [http / ours for http, ours in zip(seconds["http"], seconds["torrent"], strict=True)]
    rates = {f"{way}_mb_s": size / 1e6 / statistics.median(took) for way, took in seconds.items()}
    return {"bytes": size, "seconds": seconds, **rates, "ratio": statistics.median(ratios)}


def memory(torrent: Path, got: Path) -> dict[str, Any]:
    seed = start("seed", torrent)
    where = said(seed)["address"]
    client = start("fetch", torrent, got, where)
    fetched = said(client)
    client.wait()
    served = stop(seed)
    shutil.rmtree(got)
    size = (torrent.with_suffix("") / "model.safetensors").stat().st_size
    return {"bytes": size, "seconds": fetched["seconds"], "fetch_mib": fetched["peak_mib"], "seed_mib": served["peak_mib"]}


def kills(torrent: Path, got: Path, times: int) -> dict[str, Any]:
    source = torrent.with_suffix("") / "model.safetensors"
    size, began = source.stat().st_size, time.monotonic()
    with sent_by(torrent) as (where, sent):
        for kill in range(times):
            goal = (kill + 1) * size // (times + 1)
            client = start("fetch", torrent, got, where)
            while sent() < goal and client.poll() is None:
                time.sleep(0.005)
            client.kill()
            client.communicate()
        client = start("fetch", torrent, got, where)
        said(client)
        client.wait()
        twice = sent() - size
    found = next(got.glob(f".model.*/data/{torrent.stem}/model.safetensors"))
    same = _sha256(found) == _sha256(source)
    shutil.rmtree(got)
    return {
        "bytes": size,
        "kills": times,
        "twice": twice,
        "share": twice / size,
        "same": same,
        "seconds": time.monotonic() - began,
    }


def stop(server: subprocess.Popen[str]) -> dict[str, Any]:
    """Ends a server by closing its stdin; what it says at its end."""
    assert server.stdin is not None
    server.stdin.close()
    last = said(server)
    server.wait()
    return last


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

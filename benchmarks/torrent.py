"""Torrents against plain HTTP, their memory, and what kills cost, all on loopback addresses.

    python benchmarks/torrent.py --folder /big/disk --json torrent.json
    python benchmarks/torrent.py --folder /big/disk --only kills --mebibytes 1024 --kills 20

throughput: one file of noise, fetched by our `fetch` from one seed, and by HTTP followed by sha256, in turns; each side is a
process of its own, and so is its server; neither waits for the disk (fsync). Seconds are from the start of the transfer to the
verified file; the ratio is HTTP's seconds over ours, the median over --repeats. memory: the highest resident size of the
fetching process and of the seed for a sparse file of --gigabytes (all zeros: the pieces are hashed and sent like any). kills:
`mistral7b download` of a magnet link, into a store that has one of the release's files already, is killed (SIGKILL) --kills
times, each after its share of the bytes; what the seed sent beyond the rest's size was fetched twice, or was on its way.
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
from torrent_roles import LEECH, sent_by

from mistral7b.checkpoint.manifest import MANIFEST, hash_files
from mistral7b.release.reach import Reach
from mistral7b.release.torrent import make_torrent


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
            report["kills"] = kills(release, asked.folder, asked.kills)
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
    """The .torrent of a folder with one file of `size` bytes, in the layout of safetensors."""
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        header = json.dumps({"noise": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        file.write(len(header).to_bytes(8, "little") + header)
        if sparse:
            file.truncate(file.tell() + size)
        else:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
    return torrent_of(folder)


def torrent_of(folder: Path) -> Path:
    """As `release` makes it."""
    path = folder.with_suffix(".torrent")
    path.write_bytes(make_torrent(folder, sorted(path.name for path in folder.iterdir()), reach=Reach(), created=0).data)
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


def kills(noise: Path, root: Path, times: int) -> dict[str, Any]:
    began = time.monotonic()
    home, first, second = root / "home", root / "first", root / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "README.md").write_bytes(os.urandom(1 << 20) if folder == first else (first / "README.md").read_bytes())
        if folder == second:
            os.link(noise.with_suffix("") / "model.safetensors", folder / "model.safetensors")
        files = {name: held.to_json() for name, held in hash_files(sorted(folder.iterdir())).items()}
        (folder / MANIFEST).write_text(json.dumps({"files": files}))
    with sent_by(torrent_of(first)) as (where, _):
        download(first, where, home).communicate()
    size = sum((second / name).stat().st_size for name in ("model.safetensors", MANIFEST))
    cost = []
    with sent_by(torrent_of(second)) as (where, sent):
        for kill in range(times):
            goal = (kill + 1) * size // (times + 1)
            client = download(second, where, home)
            while sent() < goal and client.poll() is None:
                time.sleep(0.005)
            client.kill()
            client.communicate()
            cost.append(sent())
        told, _ = download(second, where, home).communicate()
        twice = sent() - size
    got = json.loads(told)
    same = all(_sha256(path) == _sha256(second / path.name) for path in Path(got["path"]).iterdir())
    return {
        "bytes": size,
        "kills": times,
        "sent_at_kill": cost,
        "twice": twice,
        "share": twice / size,
        "from_store": got["checks"][0]["detail"].endswith("; 1 files were in the store"),
        "same": same and len(got["files"]) == 3,
        "seconds": time.monotonic() - began,
    }


def download(folder: Path, where: str, home: Path) -> subprocess.Popen[str]:
    """The command, which is told of the magnet link and of one peer."""
    link = lt.make_magnet_uri(lt.load_torrent_file(str(folder.with_suffix(".torrent"))))
    ways = ("--no-dht", "--no-trackers", "--no-pex", "--no-lsd", "--peer", where, "--listen", f"{LEECH}:0", "--json")
    command = [sys.executable, "-m", "mistral7b", "download", link, *ways]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"MISTRAL7B_HOME": str(home)})


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

"""The processes of torrent.py: a seed and a fetch, an HTTP server and a download with its sha256. Each speaks JSON lines."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import libtorrent as lt

from mistral7b.release.fetch import fetch
from mistral7b.release.seed import Seeding, seed
from mistral7b.release.session import Settings, open_session

SEED, LEECH = "127.0.0.2", "127.0.0.3"
_CHUNK = 1 << 20


def settings(ip: str) -> Settings:
    return Settings(listen=(f"{ip}:0",), dht=False, trackers=False, pex=False, lsd=False)


def say(**what: Any) -> None:
    print(json.dumps({**what, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


@contextmanager
def sent_by(torrent: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """A seed in this process, as `seed` makes it: its address, and how many bytes it sent so far, told without a wait."""
    with open_session(settings(SEED)) as session:
        params = lt.load_torrent_file(str(torrent))
        params.save_path = str(torrent.parent)
        params.flags = lt.torrent_flags.seed_mode
        handle = session.add_torrent(params)
        while not session.listen_port():
            session.wait_for_alert(100)
        yield f"{SEED}:{session.listen_port()}", lambda: handle.status().total_payload_upload


def run_seed(torrent: Path) -> None:
    with seed(torrent, settings=settings(SEED)) as seeding:
        say(address=seeding.address)
        watcher = Thread(target=_watch, args=(seeding, done := []))
        watcher.start()
        sys.stdin.read()
        done.append(True)
        watcher.join()
    say()


def _watch(seeding: Seeding, done: list[bool]) -> None:
    while not done:
        seeding.look()


def run_fetch(torrent: Path, got: Path, where: str) -> None:
    got.mkdir(exist_ok=True)
    began = time.monotonic()
    fetch(torrent, got / "model", peers=[where], settings=settings(LEECH))
    say(seconds=time.monotonic() - began)


def run_serve(torrent: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer((SEED, 0), partial(Quiet, directory=str(torrent.with_suffix("")))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        say(address=f"http://{SEED}:{server.server_port}/model.safetensors")
        sys.stdin.read()
        server.shutdown()
    say()


def run_get(_: Path, got: Path, where: str) -> None:
    """Downloaded to the disk as fast as it comes, then hashed: what anyone does by hand."""
    got.mkdir(exist_ok=True)
    began = time.monotonic()
    path = got / "model.safetensors"
    with urllib.request.urlopen(where) as reply, path.open("wb") as file:
        while chunk := reply.read(_CHUNK):
            file.write(chunk)
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    say(seconds=time.monotonic() - began)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    roles: dict[str, Callable[..., None]] = {"seed": run_seed, "fetch": run_fetch, "serve": run_serve, "get": run_get}
    torrent_file, *others = rest
    roles[role](Path(torrent_file), *([Path(others[0]), others[1]] if others else []))

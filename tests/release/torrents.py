"""Small releases to fetch: a folder in the layout of a model's, its torrent, and sessions on loopback addresses that have it."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libtorrent as lt

from mistral7b.release.session import DISK, Settings, pack

PIECE = 32 << 10  # libtorrent 2.1.1 mistakes an honest peer for a liar where pieces are of one block
NAME = "tiny-release"


@dataclass(frozen=True)
class Made:
    """A release `folder`, its .torrent file, and the link with its hashes and nothing else."""

    folder: Path
    torrent: Path
    magnet: str

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


def make(root: Path, *, weights: int = 1 << 20, piece: int = PIECE, flags: int = 0, name: str = NAME) -> Made:
    """`weights` bytes of noise, with the files that stand beside weights; `flags` of libtorrent (0: hybrid)."""
    folder = root / name
    folder.mkdir(parents=True)
    noise = random.Random(weights)
    with (folder / "model.safetensors").open("wb") as file:
        for at in range(0, weights, 1 << 20):
            file.write(noise.randbytes(min(1 << 20, weights - at)))
    (folder / "config.json").write_text('{"dim": 8}')
    (folder / "tokenizer.model").write_bytes(noise.randbytes(40_000))
    (folder / "README.md").write_text("# A release\n")
    return torrent_of(folder, piece=piece, flags=flags)


def torrent_of(folder: Path, *, piece: int = PIECE, flags: int = 0, trackers: tuple[str, ...] = (), web: str = "") -> Made:
    """The torrent of `folder`, beside it."""
    entries = [lt.create_file_entry(f"{folder.name}/{path.name}", path.stat().st_size) for path in sorted(folder.iterdir())]
    made = lt.create_torrent(entries, piece, flags)
    for tracker in trackers:
        made.add_tracker(tracker)
    if web:
        made.add_url_seed(web)
    made.set_creation_date(0)
    lt.set_piece_hashes(made, str(folder.parent))
    torrent = folder.with_name(f"{folder.name}.torrent")
    torrent.write_bytes(lt.bencode(made.generate()))
    hashes = lt.load_torrent_file(str(torrent)).info_hashes
    topics = [f"xt=urn:btih:{hashes.v1}"] if hashes.has_v1() else []
    topics += [f"xt=urn:btmh:1220{hashes.v2}"] if hashes.has_v2() else []
    return Made(folder, torrent, f"magnet:?{'&'.join(topics)}&dn={folder.name}")


def alone(ip: str, **settings: Any) -> Settings:
    """Settings of a session on one loopback address that finds nobody by itself."""
    return Settings(
        **{
            "listen": (f"{ip}:0",),
            "dht": False,
            "trackers": False,
            "pex": False,
            "lsd": False,
            "dht_nodes": (),
            "patience_s": 60.0,
            **settings,
        }
    )


@contextmanager
def seeding(made: Made, settings: Settings, *, have: Callable[[int], bool] = lambda _: True, lie: bool = False) -> Iterator[str]:
    """A session that serves the pieces `have` of `made`; yields its IP:PORT. With `lie` it checks no hash."""
    with serving(made, settings, have=have, lie=lie) as (session, _):
        yield f"{settings.listen[0].rpartition(':')[0]}:{session.listen_port()}"


@contextmanager
def serving(
    made: Made, settings: Settings, *, have: Callable[[int], bool] = lambda _: True, lie: bool = False
) -> Iterator[tuple[lt.session, lt.torrent_handle]]:
    setup = lt.session_params()
    setup.settings = {**pack(settings), "disable_hash_checks": lie}
    setup.disk_io_constructor = DISK
    session = lt.session(setup)
    params = lt.load_torrent_file(str(made.torrent))
    assert params.ti is not None
    params.save_path = str(made.folder.parent)
    params.flags |= lt.torrent_flags.upload_mode
    params.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
    params.have_pieces = [have(piece) for piece in range(params.ti.num_pieces())]
    handle = session.add_torrent(params)
    until(lambda: handle.status().num_pieces == sum(params.have_pieces) and session.listen_port() != 0, session)
    try:
        yield session, handle
    finally:
        session.pause()


def until(true: Callable[[], bool], session: lt.session | None = None, *, limit: float = 120.0) -> None:
    """Waits, a session's alerts driving it, or fails."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never came to be"
        if session is None:
            time.sleep(0.005)
        else:
            session.wait_for_alert(50)
            session.pop_alerts()


def copy(made: Made, root: Path) -> Made:
    """The same release elsewhere, to be spoilt."""
    shutil.copytree(made.folder, root / made.folder.name)
    return Made(root / made.folder.name, made.torrent, made.magnet)

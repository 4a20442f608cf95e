"""The quarantine of one fetch: a folder beside its target where what arrives stands apart until it is checked."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mistral7b.errors import StoreError

TORRENT = "release.torrent"


@dataclass(frozen=True, slots=True)
class Holding:
    """`data` is where the torrent's own folder is written. What is known of the fetch lies beside, under no name a torrent can
    choose."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def torrent(self) -> Path:
        """The .torrent of a whole fetch."""
        return self.folder / TORRENT

    def resume(self) -> bytes | None:
        """What `keep` kept; None where nothing was."""
        try:
            return (self.folder / "resume").read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, resume: bytes) -> None:
        """Keeps what is known of the fetch: its metadata, peers, and who was banned."""
        _put(self.folder / "resume", resume)

    def settle(self, torrent: bytes) -> None:
        """Keeps the .torrent of a fetch that is done."""
        _put(self.torrent, torrent)


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all after a kill. Nothing is waited for until it reaches the disk, as all that arrived would be with it: a
    file that a power cut spoils is not read, and costs its metadata."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


@contextmanager
def hold(target: Path, key: str) -> Iterator[Holding]:
    """The quarantine for `target` of the torrent whose hash is `key`, for this process alone.

    Raises StoreError when another process fetches the same there, or for a folder that cannot be made.
    """
    folder = target.with_name(f".{target.name}.{key[:12]}.quarantine")
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}; choose another place") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another process is fetching into {folder}; wait for it, or stop it") from None
        yield Holding(folder)

"""One file from the hub to this disk: resumed where it broke off, verified, and only then under its name.

huggingface_hub 2 throws a broken download away (each attempt has a file of its own name), which for 14 GB over a home line
means starting over; so the part file is kept here, and the library does the HTTP.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from huggingface_hub.file_download import http_get

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.errors import StoreError
from mistral7b.store.listing import RemoteFile


def transfer(file: RemoteFile, url: str, headers: dict[str, str], path: Path, at: Callable[[int], None]) -> None:
    """Fetches `file` from `url` as `path`; `at` is told how many bytes of it are here.

    What arrived of a broken transfer stays beside it as `.part` and is continued by the next call. Raises StoreError when
    another process is at it, or when the bytes are not those the hub states (they are kept as `.corrupt`), OSError and the
    hub client's errors otherwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("ab") as out:
        _lock(out, part)
        have = out.seek(0, os.SEEK_END)
        if have > file.size or file.sha256 is None:  # small files are served compressed, where a byte range means little
            have = out.truncate(0)
        at(have)
        try:
            http_get(url, out, resume_size=have, headers=headers, expected_size=file.size, tqdm_class=_bar(at))
        finally:
            out.flush()
            if not os.fstat(out.fileno()).st_size and file.size:
                part.unlink()  # nothing arrived: leave no trace
        os.fsync(out.fileno())
        if (found := mismatch(file, part)) is not None:
            kept = path.with_name(f"{path.name}.corrupt")
            os.replace(part, kept)
            raise StoreError(f"{file.name} arrived damaged ({found}) and is kept as {kept}; delete that and download again")
        os.replace(part, path)


def mismatch(file: RemoteFile, path: Path) -> str | None:
    """None if `path` holds the bytes the hub states for `file`, else what differs. Raises OSError."""
    if (size := path.stat().st_size) != file.size:
        return f"{size:,} bytes where the hub states {file.size:,}"
    found, stated = (sha256_of(path), file.sha256) if file.sha256 else (_git_sha1(path), file.blob_id)
    if found == stated:
        return None
    return f"{'sha256' if file.sha256 else 'Git hash'} {found} where the hub states {stated}"


def _git_sha1(path: Path) -> str:
    """Git's name for the contents of a small file: sha1 over "blob <size>", a zero byte and the bytes."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _lock(out: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(f"another process is writing {part}; wait for it, or stop it") from None


def _bar(at: Callable[[int], None]) -> Any:
    """A stand-in for tqdm: http_get makes one a file and tells it where it starts and what arrives."""

    class Bar:
        def __init__(self, *, initial: int = 0, **_: object) -> None:
            self.n = initial

        def update(self, n: int) -> None:
            self.n += n
            at(self.n)

        def __enter__(self) -> Self:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

    return Bar

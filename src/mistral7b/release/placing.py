"""The files of a checked model in another folder: large ones as links, small ones as copies, none other than was checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from mistral7b.checkpoint.manifest import FileHash, compare, hash_files
from mistral7b.errors import ReleaseError

# Below this a copy costs little, and nobody who edits a released file changes another: not the model that the package carries.
LINKED_FROM = 1 << 28  # bytes

Stamps = Mapping[str, tuple[int, int, int]]  # name -> (inode, size, time of the last change in ns)


def stamps(folder: Path) -> Stamps:
    """What tells that a file of `folder` is still the one it was."""
    found = {path.name: path.stat() for path in folder.iterdir() if path.is_file()}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def bytes_to_copy(folder: Path, parent: Path, files: Mapping[str, FileHash], *, linked_from: int = LINKED_FROM) -> int:
    """What `place` will write on the disk of `parent`, where that disk takes links."""
    same = folder.stat().st_dev == parent.stat().st_dev
    return sum(held.size for held in files.values() if not same or held.size < linked_from)


def place(
    source: Path,
    target: Path,
    files: Mapping[str, FileHash],
    progress: Callable[[int, int], None] | None = None,
    *,
    linked_from: int = LINKED_FROM,
) -> set[str]:
    """Puts the `files` of `source` into `target` and returns the names of those that are links; a copy is hashed again.

    `progress` is told (bytes in place, bytes in all). Raises ReleaseError for a copy that is not as stated, and OSError.
    """
    linked: set[str] = set()
    total, done = sum(held.size for held in files.values()), 0
    for name, held in files.items():
        placed = target / name
        if held.size >= linked_from and _link(source / name, placed):
            linked.add(name)
        else:
            shutil.copyfile(source / name, placed)
            if compare({name: held}, hash_files([placed])):
                raise _changed(name)
        done += held.size
        if progress is not None:
            progress(done, total)
    return linked


def refuse_changes(before: Stamps, target: Path, linked: Collection[str]) -> None:
    """Raises ReleaseError if a file `linked` into `target` is no longer the one that `before` was taken of."""
    now = stamps(target)
    for name in linked:
        if now[name] != before[name]:
            raise _changed(name)


def _changed(name: str) -> ReleaseError:
    return ReleaseError(f"{name} was changed while it was released; start again")


def _link(source: Path, placed: Path) -> bool:
    """False where the disk, or the file's owner, allows no link; a symbolic link, as of the hub's cache, is followed first."""
    try:
        os.link(source.resolve(strict=True), placed)
    except OSError:
        return False
    return True

"""Where a download stands until it is checked: nothing is loaded from there, and only a rename leads out."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mistral7b.checkpoint.aside import is_here, sync
from mistral7b.errors import StoreError


@contextmanager
def quarantine(folder: Path) -> Iterator[Path]:
    """Yields `folder`, made if need be and this process's alone; gone when the block ends well, else kept to be resumed.

    Raises StoreError if another process is in it, or if it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock_file(folder).open("a") as held:
            if not _alone(held, folder):
                raise StoreError(f"another process is downloading into {folder}; wait for it, or stop it")
            folder.mkdir(mode=0o700, exist_ok=True)
            _own(folder)
            yield folder
            _clear(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror or error}); what arrived is kept there") from None


def _own(folder: Path) -> None:
    """Nobody else may change what stands there between its check and its leaving. Raises StoreError for another's folder."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StoreError(f"{folder} was made by somebody else; remove it, or download into a folder of your own")
    folder.chmod(0o700)


def move(checked: Path, target: Path) -> None:
    """Gives the checked folder its name, on the same disk; an empty `target` is replaced. Raises StoreError for any other."""
    refuse_taken(target)
    for path in checked.iterdir():
        sync(path)
    sync(checked)
    with suppress(FileNotFoundError):
        target.rmdir()
    os.rename(checked, target)
    sync(target.parent)


def refuse_taken(target: Path) -> None:
    """Raises StoreError unless a folder could be put at `target`."""
    if os.path.lexists(target) and (not target.is_dir() or target.is_symlink() or any(target.iterdir())):
        raise StoreError(f"{target} already holds something; name a folder that is empty or does not exist")
    if is_here(target):
        raise StoreError(f"{target} is the folder this runs in, which cannot be replaced; name another")
    if not target.parent.is_dir():
        raise StoreError(f"{target.parent} is not a folder; make it first")


def sweep(root: Path) -> int:
    """Removes the downloads under `root` that no process is at; returns the bytes they took."""
    freed = 0
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        with _lock_file(folder).open("a") as held:
            if _alone(held, folder):
                freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1)
                _clear(folder)
    return freed


def _alone(held: IO[str], folder: Path) -> bool:
    """Whether the open lock file is now this process's; not so for one that its last owner has cleared away since."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(held.fileno()), _lock_file(folder).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _clear(folder: Path) -> None:
    shutil.rmtree(folder)
    _lock_file(folder).unlink(missing_ok=True)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")

"""The folder of a program, which is removed whatever becomes of the program, or of this process."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW, _PREFIX = "mistral7b-new-", "mistral7b-sandbox-"


@contextmanager
def program_folder() -> Iterator[Path]:
    """A folder for temporary files, which only its owner may enter, locked as long as this process is at it."""
    made = os.path.realpath(tempfile.mkdtemp(prefix=_NEW))
    lock = os.open(made, os.O_RDONLY)
    folder = Path(made).with_name(Path(made).name.replace(_NEW, _PREFIX, 1))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(made, folder)  # under this name only with its lock: another process may be sweeping
        yield folder
    finally:
        remove(folder)
        os.close(lock)


def sweep() -> None:
    """Removes the folders of this user's processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, gone since, or one that a process is at
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    remove(folder)
            finally:
                os.close(lock)


def remove(folder: Path) -> None:
    """A folder and what a program left in it, folders closed to their owner and very deep ones included."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)

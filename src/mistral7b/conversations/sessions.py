"""SessionStore: conversations by name, in one folder, each held by one turn at a time."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mistral7b.conversations.file import save
from mistral7b.conversations.fingerprint import Fingerprint
from mistral7b.conversations.kept import Kept
from mistral7b.conversations.reading import load
from mistral7b.errors import RequestError, StoreError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_folder(folder: Path) -> None:
    """Raises StoreError, one line, if no conversations can be kept in `folder`: to be asked before a model is loaded."""
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a folder; make it first")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StoreError(f"{folder} cannot be written by this user; change its permissions, or name another folder")


class SessionStore:
    """Conversations with `model` in `folder`, under names of 1 to 64 of A-Z, a-z, 0-9, _ and -.

    Any thread may call anything here; `load`, `save` and `delete` belong inside `hold`. Two processes do not know of each
    other: the turn saved last stays. Raises what `check_folder` raises.
    """

    def __init__(self, folder: Path, model: Fingerprint) -> None:
        check_folder(folder)
        self._folder = folder
        self._model = model
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # a name that is held or waited for: (its lock, by how many)
        self._guard = threading.Lock()

    def path(self, name: str) -> Path:
        """The file of `name`; RequestError, one line, for what is no name. The hash keeps "a" and "A" apart on any disk."""
        if not _NAME.fullmatch(name):
            raise RequestError("a session name has 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
        return self._folder / f"{name}.{hashlib.sha256(name.encode()).hexdigest()[:8]}.safetensors"

    def load(self, name: str) -> Kept | None:
        """The conversation `name`, None if there is none. Raises what `reading.load` raises."""
        path = self.path(name)
        return load(path, self._model) if path.exists() else None

    def save(self, name: str, kept: Kept) -> None:
        """Write it, whole or not at all. Raises what `file.save` raises."""
        save(self.path(name), kept, self._model)

    def delete(self, name: str) -> bool:
        """Forget it; False if there was none."""
        path = self.path(name)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    @contextmanager
    def hold(self, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
        """Keep others from taking a turn of `name` meanwhile; waits for up to `wait_s` seconds for one that has it.

        With `wait_s` 0 it never blocks, so a coroutine may hold it over awaits, on whatever threads it runs. Raises
        RequestError if another turn has it still.
        """
        self.path(name)
        with self._guard:
            lock, users = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = lock, users + 1
        try:
            if not lock.acquire(timeout=wait_s):
                raise RequestError(f"session {name!r} is answering another request; wait for it to end")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                lock, users = self._locks.pop(name)
                if users > 1:
                    self._locks[name] = lock, users - 1

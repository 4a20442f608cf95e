"""The journal of an evaluation: one line an answer, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mistral7b.errors import DataError

_TOGETHER = 256  # answers between two waits for the disk


def key_of(*parts: Any) -> str:
    """The key of a request: the sha256 of `parts`, which JSON can hold (model digest, kind, arguments, repeat, seed)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


class Answers:
    """Answers by key, in memory, and in `path` if one is given: JSON lines, only ever appended to.

    A last line that was torn by a kill is cut off when the file is opened. An answer outlives the process as soon as `put`
    returns, and the machine after `sync`, or 256 answers later. Raises DataError for a file that cannot be read or written, that
    holds a line that is no answer, or that another run has open.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        self._unsynced = 0
        self._file = self._open(path) if path is not None else None

    def __len__(self) -> int:
        return len(self._found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def get(self, key: str) -> Any:
        """The answer to the request of `key`, None if it has none."""
        return self._found.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep an answer, which JSON can hold and is not null. A key keeps its first answer."""
        assert value is not None, "null is what an unknown key has"
        if key in self._found:
            return
        self._found[key] = value
        if self._file is not None:
            line = json.dumps({"key": key, "value": value}, ensure_ascii=False).encode() + b"\n"
            self._try(lambda file: file.write(line))
            self._unsynced += 1
            if self._unsynced >= _TOGETHER:
                self.sync()

    def sync(self) -> None:
        """Wait until all answers are on the disk."""
        if self._file is not None and self._unsynced:
            self._try(lambda file: os.fsync(file.fileno()))
            self._unsynced = 0

    def close(self) -> None:
        """`sync`, and let other runs have the file."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None

    def _try(self, act: Any) -> None:
        try:
            act(self._file)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror or error}") from None

    def _open(self, path: Path) -> Any:
        try:
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            self._read(data[:whole].splitlines())
            file.truncate(whole)
        except BlockingIOError:
            file.close()
            raise DataError(f"{path} is being written by another run; wait for it, or choose another folder") from None
        except (OSError, DataError):
            file.close()
            raise
        return file

    def _read(self, lines: Sequence[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            try:
                held = json.loads(line)
                self._found.setdefault(held["key"], held["value"])
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{self.path}, line {number}: this is no answer; remove the line, or the file") from None

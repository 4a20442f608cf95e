"""The journal of an evaluation: one line an answer, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mistral7b.errors import DataError
from mistral7b.evals.journal import Journal

_TOGETHER = 256  # answers between two waits for the disk


def key_of(*parts: Any) -> str:
    """The key of a request: the sha256 of `parts`, which JSON can hold (model digest, kind, arguments, repeat, seed)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


class Answers:
    """Answers by key, in memory, and in `path` if one is given: JSON lines, only ever appended to.

    An answer outlives the process as soon as `put` returns, and the machine after `sync`, or 256 answers later. Raises DataError
    for a line that is no answer, and as `Journal`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        self._unsynced = 0
        self._journal = Journal(path) if path is not None else None
        if path is not None:
            try:
                self._read(path)
            except DataError:
                self.close()
                raise

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
        if self._journal is not None:
            together = self._unsynced + 1 >= _TOGETHER
            self._journal.add({"key": key, "value": value}, wait=together)
            self._unsynced = 0 if together else self._unsynced + 1
        self._found[key] = value

    def sync(self) -> None:
        """Wait until all answers are on the disk."""
        if self._journal is not None and self._unsynced:
            self._journal.sync()
            self._unsynced = 0

    def close(self) -> None:
        """`sync`, and let other runs have the file."""
        if self._journal is not None:
            self.sync()
            self._journal.close()
            self._journal = None

    def _read(self, path: Path) -> None:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                held = json.loads(line)
                self._found.setdefault(held["key"], held["value"])
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path}, line {number}: this is no answer; remove the line, or the file") from None

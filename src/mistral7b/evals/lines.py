"""A file of JSON lines that only grows: what was added before a kill is there after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mistral7b.errors import DataError
from mistral7b.evals.journal import Journal

Record = dict[str, Any]


def read_lines(path: Path) -> list[Record]:
    """The object of each line; empty lines are none. Raises DataError naming file and line."""
    return [record for _, record in numbered_lines(path)]


def numbered_lines(path: Path) -> Iterator[tuple[int, Record]]:
    """(Line from 1, its object). Raises DataError naming file and line for a file that cannot be read, or a line that is none."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


class Lines:
    """The file at `path`, opened to add to; without a path, kept in memory alone.

    `records` are those there were, then those added. Raises DataError for a line that is no JSON object, and as `Journal`.
    """

    def __init__(self, path: Path | None) -> None:
        self.records: list[Record] = []
        self._path = path
        self._journal = None if path is None else Journal(path)
        if path is not None:
            try:
                self.records = read_lines(path)
            except DataError:
                self.close()
                raise

    def add(self, record: Record) -> None:
        """Until this returns without an error, `record` is not kept; from then on it is on the disk. Raises DataError."""
        if self._journal is not None:
            self._journal.add(record, wait=True)
        self.records.append(record)

    def agree(self, settings: Record) -> None:
        """Makes `settings` the first line, or raises DataError if the first line is another."""
        if not self.records:
            self.add({"settings": settings})
            return
        before = self.records[0].get("settings")
        changed = [key for key in settings if not isinstance(before, dict) or before.get(key) != settings[key]]
        if changed:
            raise DataError(f"{self._path} was begun with another {changed[0]}; choose another --out, or ask as before")

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _object(line: bytes, where: str) -> Record:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{where}: not JSON; each line must be one object")
    return found

"""A file of JSON lines that only grows, under one writer at a time: what was added before a kill is there after it."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mistral7b.errors import DataError


class Journal:
    """The file at `path`, made where there is none and held until `close`.

    A last line that a kill cut short is taken away, one that lacks nothing but its line break gets it. Raises DataError for a
    file that cannot be opened, or that another run has open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a+b", buffering=0)  # what a write could not take is not kept for the next
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror or error}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._mend()
        except BlockingIOError:
            self.close()
            raise DataError(f"{path} is being written by another run; wait for it, or write elsewhere") from None
        except OSError as error:
            self.close()
            raise DataError(f"{path} cannot be opened: {error.strerror or error}") from None

    def add(self, record: Any, *, wait: bool) -> None:
        """Add a line, which outlives the process, and if this is to `wait`, the machine. Raises DataError if it cannot be
        written whole; then nothing of it is kept."""
        rest = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        end = os.fstat(self._file.fileno()).st_size
        try:
            while rest:  # a disk that fills up takes a part, and says why at the next write
                rest = rest[self._file.write(rest) :]
            if wait:
                os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise self._not_written(error) from None

    def sync(self) -> None:
        """Wait until all lines are on the disk. Raises DataError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._not_written(error) from None

    def close(self) -> None:
        """Let other runs have the file."""
        self._file.close()

    def _not_written(self, error: OSError) -> DataError:
        return DataError(f"{self.path} cannot be written: {error.strerror or error}")

    def _mend(self) -> None:
        """Ends the file with a whole line."""
        self._file.seek(0)
        held = self._file.read()
        last = held[held.rfind(b"\n") + 1 :]
        if last and is_object(last):
            self._file.write(b"\n")
        elif last:
            self._file.truncate(len(held) - len(last))


def is_object(line: bytes) -> bool:
    """Whether it is one object of JSON; no part of a line that was cut short is."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False

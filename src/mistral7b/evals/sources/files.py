"""The files of one data folder: read strictly, each hashed as it is read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mistral7b.errors import DataError

Row = dict[str, Any]
Splits = dict[str, list[Row]]
"""Rows by the name of their split, in the schema of the task's data set on the hub."""


class Folder:
    """`hashes` gains the sha256 of every file read, under its path within the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hashes: dict[str, str] = {}

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def raw(self, name: str) -> bytes:
        """Raises DataError for a file that is missing or cannot be read."""
        path = self.path / name
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise DataError(f"{path} is missing; docs/evaluation-data.md says what to put there") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        self.hashes[name] = hashlib.sha256(raw).hexdigest()
        return raw

    def text(self, name: str, unpack: Callable[[bytes], bytes] | None = None) -> str:
        """UTF-8, line ends as they are."""
        path, raw = self.path / name, self.raw(name)
        try:
            return (unpack(raw) if unpack is not None else raw).decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}") from None
        except (OSError, EOFError, ValueError, zlib.error) as error:  # what gzip and bz2 raise
            raise DataError(f"{path} cannot be unpacked: {error}; fetch it again") from None

    def lines(self, name: str, unpack: Callable[[bytes], bytes] | None = None) -> list[str]:
        """Cut at \\n only, which other separators of Unicode are not; a last empty one is dropped."""
        lines = self.text(name, unpack).split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def json(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}; fetch it again") from None

    def jsonl(self, name: str, make: Callable[[Any], Row]) -> list[Row]:
        """A row a line, `make` of what it holds; .gz is unpacked. Blank lines count, and are left out."""
        unpack = gzip.decompress if name.endswith(".gz") else None
        numbered = ((number, line) for number, line in enumerate(self.lines(name, unpack), 1) if line.strip())
        return list(self._made(name, ((number, line, json.loads) for number, line in numbered), make))

    def csv(self, name: str, make: Callable[[Sequence[str]], Row]) -> list[Row]:
        """A row for each record of a table whose fields are quoted as spreadsheets do."""
        reader = csv.reader(io.StringIO(self.text(name), newline=""))
        return list(self._made(name, ((reader.line_num, record, _same) for record in reader), make))

    def tsv(self, name: str, make: Callable[[Sequence[str]], Row]) -> list[Row]:
        """A row for each line, its fields split by tabs; nothing is quoted."""
        return list(
            self._made(name, ((number, line.split("\t"), _same) for number, line in enumerate(self.lines(name), 1)), make)
        )

    def rows(self, name: str, held: Sequence[Any], make: Callable[[Any], Row]) -> list[Row]:
        """A row for each of `held`, found in the file: an error names its place in the list, from 1."""
        return list(self._made(name, ((number, each, _same) for number, each in enumerate(held, 1)), make, "item "))

    def _made(
        self, name: str, each: Iterator[tuple[int, Any, Callable[[Any], Any]]], make: Callable[[Any], Row], unit: str = ""
    ) -> Iterator[Row]:
        number = 0
        for number, held, parse in each:
            try:
                yield make(parse(held))
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                why = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise DataError(f"{self.path / name}:{unit}{number}: {why}; docs/evaluation-data.md has its fields") from None
        if not number:
            raise DataError(f"{self.path / name} holds no items; docs/evaluation-data.md says what to put there")


def _same(held: Any) -> Any:
    return held


def fields(held: Any, *names: str) -> list[Any]:
    """The values of `names`. Raises KeyError for one that is not there."""
    return [held[name] for name in names]


def index(value: Any, size: int) -> int:
    """`value` as the place of one of `size` answers, from 0. Raises ValueError."""
    if isinstance(value, bool) or not 0 <= int(value) < size:
        raise ValueError(f"{value!r} is not the place of one of {size} answers")
    return int(value)


LETTERS = "ABCDEFGHIJ"


def choices(texts: Sequence[str], gold: Any) -> Row:
    """The answers as ARC, OpenBookQA and CommonsenseQA hold them, of which that at `gold` (from 0) is right."""
    return {
        "choices": {"text": [str(text) for text in texts], "label": list(LETTERS[: len(texts)])},
        "answerKey": LETTERS[index(gold, len(texts))],
    }

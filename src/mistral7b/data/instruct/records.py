"""Files of JSON objects, one a line or in one list, each object with the place it was read from."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mistral7b.data.curate.readers.raw import opened
from mistral7b.errors import DataError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: `number` counts lines, or, in a JSON list, its items; both from 1. 0 is the whole file."""

    file: Path
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}" if self.number else str(self.file)


@dataclass(frozen=True, slots=True)
class Record:
    """One object, or `fault`, which says in a few words why there is none."""

    place: Place
    value: dict[str, Any]
    fault: str | None = None


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, plain, .gz, .bz2 or .zst: JSON lines, of which empty ones are none, or one JSON list.

    A line or an item that is no object is a record with a fault. Raises DataError for a file that cannot be read or holds
    no record.
    """
    found = False
    try:
        with opened(path) as file:
            for record in _records(path, file):
                found = True
                yield record
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except ModuleNotFoundError:
        raise DataError(f"{path} needs the zstandard package; install mistral7b[data], or unpack the file") from None
    if not found:
        raise DataError(f"{path} holds no record; give one JSON object a line")


def _records(path: Path, file: IO[bytes]) -> Iterator[Record]:
    numbered = enumerate(file, start=1)
    for number, line in numbered:
        bare = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
        if bare.startswith(b"["):
            yield from _items(path, bare + b"\n" + file.read())
            return
        if bare:
            yield _record(Place(path, number), bare)
            break
    yield from (_record(Place(path, number), line) for number, line in numbered if line.strip())


def _record(place: Place, line: bytes) -> Record:
    try:
        return _object(place, json.loads(line))
    except UnicodeDecodeError:
        return Record(place, {}, "not UTF-8")
    except (ValueError, RecursionError):
        return Record(place, {}, "not JSON; each line must be one object")


def _items(path: Path, raw: bytes) -> Iterator[Record]:
    """The items of one JSON list; the item where it breaks is the last."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        yield Record(Place(path, 1, "item"), {}, "not UTF-8")
        return
    decoder, at, number = json.JSONDecoder(), _past_white(text, 1), 0
    while number or text[at : at + 1] != "]":
        number += 1
        place = Place(path, number, "item")
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield Record(place, {}, f"not JSON, {_near(text, at)}")
            return
        yield _object(place, value)
        at = _past_white(text, at)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            yield Record(place, {}, f"no comma and no ] after it, {_near(text, at)}")
            return
        at = _past_white(text, at + 1)
    if text[at + 1 :].strip():
        yield Record(Place(path, number + 1, "item"), {}, f"after the end of the list, {_near(text, at)}")


def _object(place: Place, value: object) -> Record:
    return Record(place, value) if isinstance(value, dict) else Record(place, {}, f"not an object but a {type(value).__name__}")


def _past_white(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _near(text: str, at: int) -> str:
    return f"near line {text.count(chr(10), 0, at) + 1} of the file"

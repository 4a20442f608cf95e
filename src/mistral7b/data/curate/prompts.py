"""What a model will be asked: the strings of a folder of benchmark files, each with the file and line it stands in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mistral7b.data.curate.readers.raw import bare_suffix, opened
from mistral7b.errors import DataError

KINDS = (".jsonl", ".json", ".csv", ".txt")


@dataclass(frozen=True)
class Prompt:
    """A string, and where: `line` counts from 1; in a .json file it is the entry of its first list."""

    text: str
    file: str
    line: int


def read_prompts(given: list[Path], keys: list[str] | None, exclude: list[str]) -> Iterator[Prompt]:
    """All prompts of the files and folders given, in the order of their names. `keys` name the JSON keys and columns that hold
    prompts, at any depth (None: every string). Raises DataError for what is not there, holds no prompts or is not what its
    name says."""
    empty = True
    for root in given:
        if not root.exists():
            raise DataError(f"prompts: {root} is not there")
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            if bare_suffix(path) not in KINDS or any(fnmatchcase(path.name, pattern) for pattern in exclude):
                continue
            name = path.name if path == root else path.relative_to(root).as_posix()
            for prompt in _read(path, name, keys):
                empty = False
                yield prompt
    if empty:
        raise DataError(f"prompts: no {' '.join(KINDS)} file with text in {', '.join(map(str, given))}")


def _read(path: Path, name: str, keys: list[str] | None) -> Iterator[Prompt]:
    kind = bare_suffix(path)
    with opened(path) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(f"{path}: a file of prompts must be UTF-8 text") from None
    if kind == ".txt":
        yield from (Prompt(line, name, number) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
    elif kind == ".csv":
        for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
            if number == 1:
                columns = row
            wanted = [cell for column, cell in zip(columns, row, strict=False) if keys is None or column in keys]
            yield from (Prompt(cell, name, number) for cell in wanted if cell.strip())
    else:
        for number, held in _objects(path, kind, text):
            yield from (Prompt(found, name, number) for found in strings(held, keys))


def _objects(path: Path, kind: str, text: str) -> Iterator[tuple[int, Any]]:
    lines = [(1, text)] if kind == ".json" else list(enumerate(text.split("\n"), start=1))
    for number, line in lines:
        if not line.strip():
            continue
        try:
            held = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from None
        if kind == ".json":
            yield from enumerate(_entries(held), start=1)
        else:
            yield number, held


def _entries(held: Any) -> list[Any]:
    """A JSON file's list, or the first list one level down ({"examples": [...]}), or the whole as one entry."""
    if isinstance(held, list):
        return held
    if isinstance(held, dict):
        lists = [value for value in held.values() if isinstance(value, list)]
        if lists:
            return lists[0]
    return [held]


def strings(held: Any, keys: list[str] | None, inside: bool = False) -> Iterator[str]:
    """Every string in `held`; with `keys`, those under one of them, however deep."""
    if isinstance(held, str):
        if (inside or keys is None) and held.strip():
            yield held
    elif isinstance(held, dict):
        for key, value in held.items():
            yield from strings(value, keys, inside or (keys is not None and key in keys))
    elif isinstance(held, list):
        for value in held:
            yield from strings(value, keys, inside)

"""The units of work of a recipe: which files, or which share of one file, a task reads. Made from names and sizes alone, so it is
the same however many workers there are."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mistral7b.data.curate.readers import code, latex, text
from mistral7b.data.curate.readers.raw import bare_suffix
from mistral7b.data.curate.recipe import CurateRecipe, Source
from mistral7b.errors import DataError

_EXTENSIONS = {
    "jsonl": [".jsonl", ".ndjson", ".json"], "parquet": [".parquet"], "warc": [".warc", ".wet"],
    "text": text.EXTENSIONS, "latex": latex.EXTENSIONS, "code": code.EXTENSIONS,
}  # fmt: skip
_MANY_TEXTS = ("jsonl", "parquet", "warc")  # formats of which one file holds many


@dataclass(frozen=True)
class Input:
    """A file of a source. `name` is what ids call it: its path under the folder the recipe named."""

    path: Path
    name: str
    bytes: int


@dataclass(frozen=True)
class Unit:
    """The work of one task: texts `part`, `part + parts`, ... of each of `inputs`. `number` counts within the source."""

    source: str
    number: int
    inputs: tuple[Input, ...]
    part: int = 0
    parts: int = 1


def plan(recipe: CurateRecipe) -> list[Unit]:
    """All units, in the recipe's order of sources: the order in which the first of several duplicates is found.

    Raises DataError for a path that is not there and for a source without files.
    """
    return [unit for name, source in recipe.sources.items() for unit in _units(name, source, recipe.shard_megabytes * 1e6)]


def inputs(name: str, source: Source) -> list[Input]:
    """The files of a source, by name."""
    found: dict[str, Input] = {}
    wanted = source.extensions or _EXTENSIONS[source.reader]
    for given in source.paths:
        for path, relative in _files(name, given, wanted, source.exclude):
            while relative in found and found[relative].path != path:
                relative = f"{path.parent.name}/{relative}" if "/" not in relative else f"+{relative}"
            found[relative] = Input(path, relative, path.stat().st_size)
    if not found:
        raise DataError(f"source {name} is empty: no {' or '.join(wanted)} file in {', '.join(map(str, source.paths))}")
    return [found[relative] for relative in sorted(found)]


def _units(name: str, source: Source, shard_bytes: float) -> Iterator[Unit]:
    held, number = inputs(name, source), 0
    if source.reader in _MANY_TEXTS:
        for one in held:
            parts = max(1, -(-one.bytes // max(1, int(shard_bytes))))
            for part in range(parts):
                yield Unit(name, number, (one,), part, parts)
                number += 1
        return
    batch: list[Input] = []
    for one in held:
        if batch and sum(other.bytes for other in batch) + one.bytes > shard_bytes:
            yield Unit(name, number, tuple(batch))
            number, batch = number + 1, []
        batch.append(one)
    yield Unit(name, number, tuple(batch))


def _files(name: str, given: Path, wanted: list[str], exclude: list[str]) -> Iterator[tuple[Path, str]]:
    """(File, its name) of a path of the recipe. A file that was named is taken whatever its extension."""
    paths = [given]
    if not given.exists():
        paths = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
        if not paths:
            raise DataError(f"source {name}: {given} is not there")
    for path in paths:
        if path.is_file():
            yield path, path.name
            continue
        for file in sorted(path.rglob("*")):
            relative = file.relative_to(path)
            if file.is_file() and bare_suffix(file) in wanted and not set(relative.parts[:-1]) & set(exclude):
                yield file, relative.as_posix()

"""The folder of a run: what is finished is on disk, and a run that was stopped goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import PARTIAL, written
from mistral7b.errors import DataError
from mistral7b.evals.results import Item, Measured, Results

RESULTS, ITEMS, ANSWERS = "results.json", "items", "answers.jsonl"


def resume(path: Path, model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Measured]:
    """What a run of the same model and settings finished in this folder, by benchmark.

    Raises DataError, naming the first difference, if the folder holds a run of others, or files that cannot be read.
    """
    results = path / RESULTS
    if not results.is_file():
        return {}
    try:
        found = json.loads(results.read_bytes())
        for part, asked in (("model", model), ("settings", settings)):
            _same(path, part, found[part], json.loads(json.dumps(asked)))
        return {each["benchmark"]: Measured.from_json(each, _items(path, each["benchmark"])) for each in found["benchmarks"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{results} does not belong to a run that can go on ({error}); name another folder") from None


def keep(path: Path, results: Results, newest: Measured | None = None) -> None:
    """Puts the items of `newest`, then the results, on disk; each file is whole at any time."""
    (path / ITEMS).mkdir(parents=True, exist_ok=True)
    if newest is not None:
        with written(path / ITEMS / f"{newest.benchmark}.jsonl") as file:
            file.writelines(item.to_line().encode(errors="surrogatepass") for item in newest.items)
    with written(path / RESULTS) as file:
        file.write((json.dumps(results.to_json(), ensure_ascii=False, indent=1) + "\n").encode())


def sweep(path: Path) -> None:
    """Takes away what a run that was killed had not finished writing."""
    for left in (*path.glob(f".*{PARTIAL}"), *(path / ITEMS).glob(f".*{PARTIAL}")):
        left.unlink(missing_ok=True)


def _same(path: Path, part: str, found: dict[str, Any], asked: dict[str, Any]) -> None:
    for name in (*asked, *found):
        if found.get(name) != asked.get(name):
            raise DataError(
                f"{path} holds a run whose {part} had {name} {found.get(name)!r}, not {asked.get(name)!r}; name another folder"
            )


def _items(path: Path, benchmark: str) -> tuple[Item, ...]:
    with (path / ITEMS / f"{benchmark}.jsonl").open(encoding="utf-8", errors="surrogatepass") as lines:
        return tuple(Item.from_line(line) for line in lines)

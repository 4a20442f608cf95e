"""PIQA: which of two ways reaches a goal."""

from __future__ import annotations

from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.sources.files import Folder, Row, Splits, fields, index

_ITEMS, _LABELS = "piqa/valid.jsonl", "piqa/valid-labels.lst"


def read(folder: Folder, _: str) -> Splits:
    rows = folder.jsonl(_ITEMS, _row)
    labels = folder.rows(_LABELS, folder.lines(_LABELS), lambda line: {"label": index(line, 2)})
    if len(rows) != len(labels):
        raise DataError(f"{folder.path / _LABELS} has {len(labels):,} labels for {len(rows):,} items; fetch both again")
    return {"validation": [row | label for row, label in zip(rows, labels, strict=True)]}


def _row(held: Any) -> Row:
    goal, first, second = fields(held, "goal", "sol1", "sol2")
    return {"goal": goal, "sol1": first, "sol2": second}

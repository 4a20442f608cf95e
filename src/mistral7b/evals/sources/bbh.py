"""BIG-Bench Hard: 27 tasks, answered after the authors' three worked examples, which lm-eval's configurations hold."""

from __future__ import annotations

from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.sources.files import Folder, Row, Splits, fields


def read(folder: Folder, member: str) -> Splits:
    name = f"bbh/bbh/{member}.json"
    held = folder.json(name)
    if not isinstance(held, dict) or not isinstance(held.get("examples"), list):
        raise DataError(f'{folder.path / name} has no list of "examples"; docs/evaluation-data.md says what to put there')
    return {"test": folder.rows(name, held["examples"], _row)}


def _row(held: Any) -> Row:
    asked, target = fields(held, "input", "target")
    return {"input": asked, "target": target}

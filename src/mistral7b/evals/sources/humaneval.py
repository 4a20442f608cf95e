"""HumanEval: functions to complete from their head and docstring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.scoring import Programs, written
from mistral7b.evals.sources.files import Folder, Row, Splits, fields

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def changes(benchmark: Benchmark) -> Mapping[str, Any]:
    return written(benchmark, Programs("humaneval"), tokens=1024)


def read(folder: Folder, _: str) -> Splits:
    return {"test": folder.jsonl("humaneval/HumanEval.jsonl.gz", _row)}


def _row(held: Any) -> Row:
    return dict(zip(_FIELDS, fields(held, *_FIELDS), strict=True))

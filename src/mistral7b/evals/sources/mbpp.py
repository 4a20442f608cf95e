"""MBPP: short functions from a sentence and three tests. The hand-verified ("sanitized") items, as in the paper.

The wording is lm-eval's; its own task has the items as first crowd-sourced, so examples and data set are changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.scoring import Programs, written
from mistral7b.evals.sources.files import Folder, Row, Splits, fields

_FILE = "mbpp/sanitized-mbpp.json"
_FIELDS = ("task_id", "prompt", "code", "test_imports", "test_list")
_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
"""Task ids of each split, as the data's authors divide it."""


def changes(benchmark: Benchmark) -> Mapping[str, Any]:
    return {
        **written(benchmark, Programs("mbpp"), tokens=512),
        "dataset_path": "google-research-datasets/mbpp",
        "dataset_name": "sanitized",
        "fewshot_split": "prompt",
        "doc_to_target": "{{code}}\n[DONE]",
        "fewshot_config": {"sampler": "first_n"},
    }


def read(folder: Folder, _: str) -> Splits:
    held = folder.json(_FILE)
    if not isinstance(held, list):
        raise DataError(f"{folder.path / _FILE} is not a list of items; docs/evaluation-data.md says what to put there")
    rows = folder.rows(_FILE, held, _row)
    splits = {name: [row for row in rows if row["task_id"] in ids] for name, ids in _SPLITS.items()}
    if not splits["prompt"] or not splits["test"]:
        raise DataError(f"{folder.path / _FILE} needs items of ids 1 to 10, which are shown, and 11 to 510, which are asked")
    return {name: rows for name, rows in splits.items() if rows}


def _row(held: Any) -> Row:
    row = dict(zip(_FIELDS, fields(held, *_FIELDS), strict=True))
    if len(row["test_list"]) < 3:
        raise ValueError(f"{len(row['test_list'])} tests, not three or more")
    return row

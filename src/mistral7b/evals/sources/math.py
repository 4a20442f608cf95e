"""MATH: competition problems with worked solutions, after the four examples that lm-eval's Minerva task shows.

The examples are read from lm-eval's source as literals: importing that module needs packages which only its scoring uses.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lm_eval.tasks

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.scoring import score_math, written
from mistral7b.evals.sources.files import Folder, Row, Splits, fields

_FIELDS = ("problem", "level", "type", "solution")
HUB = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus",
)  # fmt: skip


def changes(benchmark: Benchmark) -> Mapping[str, Any]:
    return {
        **written(benchmark, score_math, tokens=1024),
        "process_docs": None,
        "doc_to_text": "Problem:\n{{problem}}\n\nSolution:",
        "doc_to_target": "{{solution}}",
        "fewshot_config": {"sampler": "first_n", "samples": _examples()},
    }


def read(folder: Folder, _: str) -> Splits:
    return {"test": folder.jsonl("math/test.jsonl", _row)}


def _row(held: Any) -> Row:
    row = dict(zip(_FIELDS, fields(held, *_FIELDS), strict=True))
    if not any(mark in row["solution"] for mark in ("\\boxed", "\\fbox")):
        raise ValueError('"solution" has no \\boxed answer')
    return row


def _examples() -> list[Row]:
    source = Path(lm_eval.tasks.__file__).parent / "minerva_math" / "utils.py"
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == "list_fewshot_samples":
            found: list[Row] = next(
                ast.literal_eval(each.value) for each in node.body if isinstance(each, ast.Return) and each.value
            )
            return found
    raise AssertionError("lm-eval's Minerva task has no examples where they were")

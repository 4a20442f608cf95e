"""BoolQ: yes or no questions about a passage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.sources.family import MEAN
from mistral7b.evals.sources.files import Folder, Row, Splits, fields, index

_QUERY = re.compile(r"Passage: (.*)\nQuestion: (.*)\?", re.DOTALL)


def changes(_: Benchmark) -> Mapping[str, Any]:
    return {"metric_list": [{"metric": "acc", **MEAN}]}  # lm-eval's, with the aggregation that it would warn about


def read(folder: Folder, _: str) -> Splits:
    return {"validation": folder.jsonl("boolq/boolq.jsonl", _row)}


def _row(held: Any) -> Row:
    query, answers, gold = fields(held, "query", "choices", "gold")
    match = _QUERY.fullmatch(query)
    if match is None or answers != ["no", "yes"]:
        raise ValueError('not "Passage: ...", a new line, "Question: ...?" with the choices no and yes')
    return {"passage": match[1], "question": match[2], "label": index(gold, 2)}

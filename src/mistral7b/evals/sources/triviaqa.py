"""TriviaQA without its documents: a question, its answer and what else the answer is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.sources.files import Folder, Row, Splits, fields

_FILE = "triviaqa/triviaqa_sm_sub.jsonl"
_QUESTION = re.compile(r"Question: (.*)\nAnswer:", re.DOTALL)
_SHOWN = 100  # items at the end of the file that are examples and never asked


def changes(_: Benchmark) -> Mapping[str, Any]:
    """Examples give the answer; lm-eval's would give its first alias, which may be any of its names."""
    return {"fewshot_config": {"doc_to_target": "{{answer.value}}"}}


def read(folder: Folder, _: str) -> Splits:
    rows = folder.jsonl(_FILE, _row)
    shown = min(_SHOWN, len(rows) // 2)
    if not shown:
        raise DataError(f"{folder.path / _FILE} holds one item only; docs/evaluation-data.md says what to put there")
    return {"train": rows[-shown:], "validation": rows[:-shown]}


def _row(held: Any) -> Row:
    context, answer, aliases = fields(held, "context", "answer", "aliases")
    match = _QUESTION.fullmatch(context)
    if match is None:
        raise ValueError('"context" is not "Question: ...", a new line and "Answer:"')
    return {"question": match[1], "answer": {"value": answer, "aliases": [str(alias) for alias in aliases]}}

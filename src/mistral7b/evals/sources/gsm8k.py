"""GSM8K: word problems of grade school, after the eight worked examples that lm-eval's configuration holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.scoring import score_gsm8k, written
from mistral7b.evals.sources.files import Folder, Row, Splits, fields


def changes(benchmark: Benchmark) -> Mapping[str, Any]:
    return written(benchmark, score_gsm8k, tokens=512)


def read(folder: Folder, _: str) -> Splits:
    return {"test": folder.jsonl("gsm8k/test.jsonl", _row)}


def _row(held: Any) -> Row:
    question, answer = fields(held, "question", "answer")
    if "####" not in answer:
        raise ValueError('"answer" does not end in #### and a number')
    return {"question": question, "answer": answer}

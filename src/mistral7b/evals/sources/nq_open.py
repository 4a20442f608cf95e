"""NaturalQuestions in its open form: a question and the short answers that count."""

from __future__ import annotations

from typing import Any

from mistral7b.evals.sources.files import Folder, Row, Splits, fields

_TRAIN, _OTHERS = "nq_open/NQ-open.train.jsonl", "nq_open/NQ-open.efficientqa.dev.1.1.jsonl"


def read(folder: Folder, _: str) -> Splits:
    """Shots come from the training file, or where it is not there from the questions of EfficientQA, which are others."""
    return {
        "train": folder.jsonl(_TRAIN if folder.has(_TRAIN) else _OTHERS, _row),
        "validation": folder.jsonl("nq_open/NQ-open.dev.jsonl", _row),
    }


def _row(held: Any) -> Row:
    question, answers = fields(held, "question", "answer")
    if not isinstance(answers, list) or not answers:
        raise ValueError('"answer" is not a list of texts')
    return {"question": question, "answer": [str(answer) for answer in answers]}

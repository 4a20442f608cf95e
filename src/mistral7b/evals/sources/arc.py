"""ARC, easy and challenge: grade-school science questions with three to five answers."""

from __future__ import annotations

from typing import Any

from mistral7b.evals.sources.files import Folder, Row, Splits, choices, fields


def read(folder: Folder, name: str) -> Splits:
    """`name` is arc_easy or arc_challenge."""
    return {"test": folder.jsonl(f"arc/{name}_test.jsonl", _row)}


def _row(held: Any) -> Row:
    question, texts, answer = fields(held, "question", "choices", "answer")
    return {"question": question, **choices(texts, answer)}

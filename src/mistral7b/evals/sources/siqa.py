"""SIQA: what people in a situation want, feel or do; three answers a question."""

from __future__ import annotations

import re
from typing import Any

from mistral7b.evals.sources.files import Folder, Row, Splits, fields, index

_SENTENCE = re.compile(r"""(?<=[.!?"'])\s+""")


def read(folder: Folder, _: str) -> Splits:
    return {"validation": folder.jsonl("siqa/dev.jsonl", _row)}


def _row(held: Any) -> Row:
    """Copies that hold the situation and the question in one text are cut before the last sentence; the prompt, which has
    both with a space between, is the same."""
    question, *answers = fields(held, "question", "answerA", "answerB", "answerC")
    context = held.get("context")
    if context is None:
        context, question = _halves(question)
    place = index(int(held["label"]) - 1, 3)
    names = ("answerA", "answerB", "answerC")
    return {"context": context, "question": question, **dict(zip(names, answers, strict=True)), "label": str(place + 1)}


def _halves(text: str) -> tuple[str, str]:
    *_, last = _SENTENCE.split(text)
    first = text[: len(text) - len(last)].removesuffix(" ") or None
    if first is None:  # a single sentence: any space will do
        first, _, last = text.partition(" ")
    return first, last

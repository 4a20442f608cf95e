"""CommonsenseQA: five answers a question."""

from __future__ import annotations

from typing import Any

from mistral7b.evals.sources.files import LETTERS, Folder, Row, Splits, choices, fields


def read(folder: Folder, _: str) -> Splits:
    splits = {"validation": folder.jsonl("commonsense_qa/dev_rand_split.jsonl", _row)}
    if folder.has("commonsense_qa/train_rand_split.jsonl"):
        splits["train"] = folder.jsonl("commonsense_qa/train_rand_split.jsonl", _row)
    return splits


def _row(held: Any) -> Row:
    question, key = fields(held, "question", "answerKey")
    stem, listed = fields(question, "stem", "choices")
    if [choice["label"] for choice in listed] != list(LETTERS[:5]):
        raise ValueError("not five choices labelled A to E")
    return {"question": stem, **choices([choice["text"] for choice in listed], LETTERS.index(key))}

"""WinoGrande: which of two options fills the blank."""

from __future__ import annotations

from typing import Any

from mistral7b.evals.sources.files import Folder, Row, Splits, fields


def read(folder: Folder, _: str) -> Splits:
    return {"validation": folder.jsonl("winogrande/dev.jsonl", _row)}


def _row(held: Any) -> Row:
    sentence, first, second, answer = fields(held, "sentence", "option1", "option2", "answer")
    if "_" not in sentence or answer not in ("1", "2"):
        raise ValueError('no blank "_" in the sentence, or an answer other than "1" and "2"')
    return {"sentence": sentence, "option1": first, "option2": second, "answer": answer}

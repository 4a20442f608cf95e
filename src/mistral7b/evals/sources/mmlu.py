"""MMLU: 57 subjects, four answers a question, shots from each subject's own dev file."""

from __future__ import annotations

from collections.abc import Sequence

from mistral7b.errors import DataError
from mistral7b.evals.sources.files import LETTERS, Folder, Row, Splits, index

_HEADER = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]


def read(folder: Folder, member: str) -> Splits:
    return {split: _questions(folder, f"mmlu/{split}/{member}_{split}.csv") for split in ("dev", "test")}


def _questions(folder: Folder, name: str) -> list[Row]:
    """With a header answers are places from 0, without one (upstream) letters."""
    rows = folder.csv(name, _row)
    if rows[0]["choices"] == _HEADER[1:5]:
        rows = rows[1:]
    if not rows:
        raise DataError(f"{folder.path / name} holds no questions; docs/evaluation-data.md says what to put there")
    return rows


def _row(record: Sequence[str]) -> Row:
    question, *texts, answer = record
    if len(texts) != 4:
        raise ValueError(f"{len(record)} columns, not a question, four choices and the answer")
    place = 0 if list(record) == _HEADER else LETTERS.index(answer) if answer.isalpha() else index(answer, 4)
    return {"question": question, "choices": texts, "answer": index(place, 4)}

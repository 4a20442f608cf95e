"""OpenBookQA: science questions, four answers each; the facts of its book are not shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mistral7b.evals.sources.files import LETTERS, Folder, Row, Splits, choices

_CHOICES = re.compile(r"\(A\) (.*?) *\(B\) (.*?) *\(C\) (.*?) *\(D\) (.*)")
_HEADER = "Question Stem"
_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}


def read(folder: Folder, _: str) -> Splits:
    found = {split: f"openbookqa/Main/{name}" for split, name in _FILES.items()}
    there = {split: name for split, name in found.items() if split == "test" or folder.has(name)}
    return {split: [row for row in folder.tsv(name, _row) if row] for split, name in there.items()}


def _row(record: Sequence[str]) -> Row:
    _, stem, listed, _, key = record
    if stem == _HEADER:
        return {}  # the line that names the columns
    match = _CHOICES.fullmatch(listed)
    if match is None:
        raise ValueError("the choices are not (A) to (D)")
    return {"question_stem": stem, **choices(match.groups(), LETTERS.index(key.strip()))}

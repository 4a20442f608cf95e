"""AGIEval: questions of admission tests. Those in English with a choice of answers, asked in the words of lm-eval's copy.

Files and examples are the authors': `few_shot_prompts.csv` has a column for each test, and in its lines by turns an example (a
Python literal) and its explanation, which is not shown: answers are compared, not written.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.sources.files import LETTERS, Folder, Row, Splits, fields, index

_EXAMPLES = "agieval/few_shot_prompts.csv"
_NO_PASSAGE = "sat-en-without-passage"


def changes(_: Benchmark) -> Mapping[str, Any]:
    """The answer that an example shows: lm-eval has no examples for this task, and holds right answers as a list of places."""
    return {"fewshot_split": "examples", "fewshot_config": {"sampler": "first_n", "doc_to_target": "{{choices[gold[0]]}}"}}


def read(folder: Folder, member: str) -> Splits:
    test = member.replace("_", "-")
    splits = {"test": folder.jsonl(f"agieval/{test}.jsonl", lambda held: _row(held, test))}
    if folder.has(_EXAMPLES):
        splits["examples"] = _examples(folder, test)
    return splits


def _examples(folder: Folder, test: str) -> list[Row]:
    column = "sat-en" if test == _NO_PASSAGE else test
    header: list[str] = []

    def cell(record: Sequence[str]) -> Row:
        if not header:
            header.extend(record)
        return {"cell": record[header.index(column)]}

    cells = [row["cell"] for row in folder.csv(_EXAMPLES, cell)]
    held = [text for text in cells[1::2] if text]
    if not held:
        raise DataError(f"{folder.path / _EXAMPLES} has no example in its column {column}; fetch it again")
    return folder.rows(_EXAMPLES, held, lambda text: _row(_literal(text), test))


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except SyntaxError as error:
        raise ValueError(f"not a Python literal: {error.msg}") from None


def _row(held: Any, test: str) -> Row:
    passage, question, options, label = fields(held, "passage", "question", "options", "label")
    passage = "" if test == _NO_PASSAGE else passage or ""
    gold = index(LETTERS.index(label), len(options))
    listed = " ".join(options)
    query = f"{passage}Q: {question} Answer Choices: {listed}\nA: Among A through {LETTERS[len(options) - 1]}, the answer is"
    return {"query": query, "choices": options, "gold": [gold]}

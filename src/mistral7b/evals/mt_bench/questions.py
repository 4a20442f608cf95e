"""The benchmark's own files, in FastChat's layout:

FOLDER/question.jsonl              {"question_id", "category", "turns": [first, second]}
FOLDER/reference_answer/*.jsonl    {"question_id", "choices": [{"turns": [...]}]}
FOLDER/judge_prompts.jsonl         {"name", "type", "system_prompt", "prompt_template"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeGuard

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.errors import DataError
from mistral7b.evals.lines import Record, numbered_lines

TURNS = 2
# Temperatures by category, as FastChat answers MT-Bench; categories it does not know, at 0.7.
_TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0, "stem": 0.1,
    "humanities": 0.1,
}  # fmt: skip
# FastChat grades these against a reference answer, the others without.
WITH_REFERENCE = frozenset({"math", "reasoning", "coding"})
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Question:
    """Two `turns`; `reference` answers to both, for the categories that are graded against them."""

    id: int
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] | None = None

    @property
    def temperature(self) -> float:
        return _TEMPERATURES.get(self.category, 0.7)


@dataclass(frozen=True)
class JudgePrompt:
    """What a judge is asked: `template` has its fields in braces."""

    name: str
    system: str
    template: str

    def fill(self, fields: Mapping[str, str]) -> str:
        """The template with its fields; braces in what is put in stay as they are. Raises DataError for an unknown field."""

        def field(found: re.Match[str]) -> str:
            if found[1] not in fields:
                raise DataError(f"judge prompt {self.name} has a field {found[0]} that nothing is known for")
            return fields[found[1]]

        return _FIELD.sub(field, self.template)


@dataclass(frozen=True)
class Bench:
    """Everything a run reads; `files` are the sha256 of what it was read from."""

    questions: tuple[Question, ...]
    prompts: Mapping[str, JudgePrompt]
    files: Mapping[str, str]

    def limited(self, limit: int | None) -> Bench:
        """`limit` of the questions, taken from the categories in turn."""
        if limit is None or limit >= len(self.questions):
            return self
        by_category: dict[str, list[Question]] = {}
        for question in self.questions:
            by_category.setdefault(question.category, []).append(question)
        in_turn = [question for row in zip_longest(*by_category.values()) for question in row if question is not None]
        kept = {question.id for question in in_turn[:limit]}
        return Bench(tuple(question for question in self.questions if question.id in kept), self.prompts, self.files)


def read_bench(folder: Path) -> Bench:
    """The folder of the module's docstring, or one that holds it as `mt_bench`. Raises DataError naming file and line."""
    folder = folder / "mt_bench" if (folder / "mt_bench").is_dir() else folder
    questions_file, prompts_file = folder / "question.jsonl", folder / "judge_prompts.jsonl"
    for path in (questions_file, prompts_file):
        if not path.is_file():
            raise DataError(f"{path} is missing; give --data-dir a folder with FastChat's question.jsonl and judge_prompts.jsonl")
    answers = sorted((folder / "reference_answer").glob("*.jsonl"))
    references: dict[int, tuple[str, ...]] = {}
    for path in answers:
        for number, record in numbered_lines(path):
            references[_id(record, path, number)] = _reference(record, path, number)
    questions = tuple(_question(record, references, questions_file, number) for number, record in numbered_lines(questions_file))
    if len({question.id for question in questions}) < len(questions) or not questions:
        raise DataError(f"{questions_file} holds {'a question_id twice' if questions else 'no question'}")
    prompts = [_prompt(record, prompts_file, number) for number, record in numbered_lines(prompts_file)]
    files = {str(path.relative_to(folder)): sha256_of(path) for path in (questions_file, prompts_file, *answers)}
    return Bench(questions, {prompt.name: prompt for prompt in prompts}, files)


def _question(record: Record, references: Mapping[int, tuple[str, ...]], path: Path, number: int) -> Question:
    id, category, turns = _id(record, path, number), record.get("category"), record.get("turns")
    if not isinstance(category, str) or not _texts(turns, TURNS):
        raise DataError(f'{path}, line {number}: a question needs a "category" and two "turns"')
    reference = references.get(id) if category in WITH_REFERENCE else None
    if category in WITH_REFERENCE and reference is None:
        raise DataError(f"{path}, line {number}: {category} is graded against a reference answer, and question {id} has none")
    return Question(id, category, tuple(turns), reference)


def _reference(record: Record, path: Path, number: int) -> tuple[str, ...]:
    try:
        turns = record["choices"][0]["turns"]
    except (LookupError, TypeError):
        turns = None
    if not _texts(turns, TURNS):
        raise DataError(f'{path}, line {number}: a reference answer needs "choices", the first with two "turns"')
    return tuple(turns)


def _prompt(record: Record, path: Path, number: int) -> JudgePrompt:
    held = [record.get(key) for key in ("name", "system_prompt", "prompt_template")]
    if not _texts(held, 3):
        raise DataError(f'{path}, line {number}: a judge prompt needs "name", "system_prompt" and "prompt_template"')
    return JudgePrompt(*held)


def _id(record: Record, path: Path, number: int) -> int:
    found = record.get("question_id")
    if not isinstance(found, int):
        raise DataError(f'{path}, line {number}: "question_id" must be an integer')
    return found


def _texts(value: object, count: int) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) == count and all(isinstance(text, str) for text in value)

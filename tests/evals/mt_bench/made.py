"""A benchmark of six questions in FastChat's layout, small enough to answer at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CATEGORIES = ("writing", "math", "stem", "writing", "coding", "humanities")


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def questions() -> list[dict[str, Any]]:
    return [
        {"question_id": 81 + place, "category": category, "turns": [f"First of {81 + place}?", f"Second of {81 + place}?"]}
        for place, category in enumerate(CATEGORIES)
    ]


def bench_folder(folder: Path) -> Path:
    """The folder, made; the math and the coding question have references, and a writing one that is not graded against it."""
    (folder / "reference_answer").mkdir(parents=True)
    lines(folder / "question.jsonl", questions())
    lines(
        folder / "reference_answer" / "someone.jsonl",
        [{"question_id": id, "choices": [{"turns": [f"right {id}a", f"right {id}b"]}]} for id in (82, 85, 81)],
    )
    lines(
        folder / "judge_prompts.jsonl",
        [
            {"name": "single-v1", "system_prompt": "S", "prompt_template": "Q {question} A {answer} say [[rating]]"},
            {"name": "single-math-v1", "system_prompt": "S", "prompt_template": "Q {question} R {ref_answer_1} A {answer}"},
            {
                "name": "single-v1-multi-turn",
                "system_prompt": "M",
                "prompt_template": "Q {question_1} A {answer_1} Q {question_2} A {answer_2}",
            },
            {
                "name": "single-math-v1-multi-turn",
                "system_prompt": "M",
                "prompt_template": "R {ref_answer_1} {ref_answer_2} Q {question_1} A {answer_1} Q {question_2} A {answer_2}",
            },
        ],
    )
    return folder

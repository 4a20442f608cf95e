"""The benchmark's files: read whole, and a fault named with file and line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mistral7b.errors import DataError
from mistral7b.evals.mt_bench.questions import JudgePrompt, read_bench
from tests.evals.mt_bench.made import bench_folder, lines, questions


def test_what_is_read(tmp_path: Path) -> None:
    folder = bench_folder(tmp_path / "mt_bench")
    bench = read_bench(folder)
    assert [question.id for question in bench.questions] == [81, 82, 83, 84, 85, 86]
    assert [question.temperature for question in bench.questions] == [0.7, 0.0, 0.1, 0.7, 0.0, 0.1]
    referenced = {question.id: question.reference for question in bench.questions if question.reference}
    assert referenced == {82: ("right 82a", "right 82b"), 85: ("right 85a", "right 85b")}
    assert set(bench.prompts) == {"single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"}
    assert bench.files["question.jsonl"] == hashlib.sha256((folder / "question.jsonl").read_bytes()).hexdigest()
    assert set(bench.files) == {"question.jsonl", "judge_prompts.jsonl", "reference_answer/someone.jsonl"}
    assert read_bench(tmp_path) == bench, "the folder above is as good"


def test_a_limit_takes_from_all_categories_in_turn(tmp_path: Path) -> None:
    bench = read_bench(bench_folder(tmp_path / "b"))
    assert [question.id for question in bench.limited(3).questions] == [81, 82, 83]
    assert [question.id for question in bench.limited(5).questions] == [81, 82, 83, 85, 86], "the second writing one comes last"
    assert bench.limited(99) is bench
    assert bench.limited(None) is bench


def test_braces_in_an_answer_are_text() -> None:
    prompt = JudgePrompt("p", "S", "Q {question}\nA {answer} [[rating]]")
    assert (
        prompt.fill({"question": "{answer} {x}", "answer": "{}{0.__class__}"}) == "Q {answer} {x}\nA {}{0.__class__} [[rating]]"
    )
    with pytest.raises(DataError, match=r"judge prompt p has a field \{answer\}"):
        prompt.fill({"question": ""})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": ["only one"]}, 'question.jsonl, line 2: a question needs a "category" and two "turns"'),
        ({"turns": "ab"}, "line 2: a question needs"),
        ({"category": None}, "line 2: a question needs"),
        ({"question_id": "82"}, 'line 2: "question_id" must be an integer'),
        ({"question_id": 81}, "holds a question_id twice"),
        ({"question_id": 99}, "line 2: math is graded against a reference answer, and question 99 has none"),
    ],
)
def test_a_bad_question(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = bench_folder(tmp_path / "b")
    changed = questions()
    changed[1] |= change
    if change.get("question_id") == 81:
        changed[1]["category"] = "stem"
    lines(folder / "question.jsonl", changed)
    with pytest.raises(DataError, match=said):
        read_bench(folder)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"question\.jsonl is missing; give --data-dir a folder with FastChat's"):
        read_bench(tmp_path)
    folder = bench_folder(tmp_path / "b")
    lines(folder / "reference_answer" / "other.jsonl", [{"question_id": 82, "choices": []}])
    with pytest.raises(DataError, match=r"other\.jsonl, line 1: a reference answer needs"):
        read_bench(folder)
    (folder / "reference_answer" / "other.jsonl").unlink()
    lines(folder / "judge_prompts.jsonl", [{"name": "single-v1"}])
    with pytest.raises(DataError, match=r"judge_prompts\.jsonl, line 1: a judge prompt needs"):
        read_bench(folder)
    (folder / "question.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no question"):
        read_bench(folder)

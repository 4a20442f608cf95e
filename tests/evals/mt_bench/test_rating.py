"""The judge's number, however it is put; and what the judge is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.mt_bench.questions import Bench, read_bench
from mistral7b.evals.mt_bench.rating import judge_ask, prompt_name, read_rating
from tests.evals.mt_bench.made import bench_folder

JUDGMENTS = [
    ("The answer is thorough.\n\nRating: [[8]]", 8),
    ("Rating: [[7.5]]", 7.5),
    ("Rating: [[ 9 ]]", 9),
    ("**Rating: [[10]]**", 10),
    ("[[6]] is my first thought; on reflection [[4]].", 6),  # FastChat reads the first
    ("Rating: [5]", 5),
    ("As source [1] says, it is wrong. [[Rating: 3]]", 3),
    ("[[Rating: 7/10]]", 7),
    ("[[ rating = 7 ]]", 7),
    ("[[8/10]]", 8),
    ("Rating: 8", 8),
    ("**Rating:** 8/10", 8),
    ("Rating: **6.5**", 6.5),
    ("rating is 4.", 4),
    ("My rating of 2", 2),
    ("[[rating]]: 9", 9),
    ("Rating: [[rating]] 3", 3),
    ('"Rating": "7"', 7),
    ("I would give this 7 out of 10.", 7),
    ("Overall 9/10, well done", 9),
    ("See [1]. Rating: 8", 8),
    ("Array [5] is right. Overall 9/10.", 9),
    ("The code prints x[0]=[3]. Rating: 8", 8),
    ("A rating of 0 is too hard: 3/10.", 3),
    ("**Score:** 7", 7),
    ("The final score is 7.", 7),
    ("A score of 3 to 4 goals", None),
    ("[[11]] Rating: 8", None),
    ("It makes 3 errors in 2 steps.", None),
    ("A rating of 7 to 8 seems fair.", None),
    ("Rating: 7-8", None),
    ("Rating: [[rating]]", None),
    ("Rating: [[N/A]]", None),
    ("Rating: [[11]]", None),
    ("Rating: [[0]]", None),
    ("Rating: 100", None),
    ("The operating 5 modes", None),
    ("17/100 of it is right", None),
    ("on 3/10/2023 it was written", None),
    ("", None),
]


@pytest.mark.parametrize(("judgment", "rating"), JUDGMENTS)
def test_ratings(judgment: str, rating: float | None) -> None:
    assert read_rating(judgment) == rating


@given(
    before=st.text("a1 ]/.:*\n", max_size=20),
    rating=st.integers(10, 100).map(lambda tenths: tenths / 10),
    after=st.text("a1[ ]/.:*\n", max_size=20),
)
def test_the_asked_for_form_is_always_read(before: str, rating: float, after: str) -> None:
    judgment = f"{before}[[{rating:g}]]{after}"
    assert read_rating(judgment) == rating


@given(st.text(alphabet="[]rating: 0123456789./-*\"'", max_size=60))
def test_nothing_but_one_to_ten_comes_out(judgment: str) -> None:
    rating = read_rating(judgment)
    assert rating is None or 1 <= rating <= 10


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return read_bench(bench_folder(tmp_path / "b"))


def test_what_the_judge_is_asked(bench: Bench) -> None:
    writing, math = bench.questions[:2]
    asked = {
        (question.id, turn): judge_ask(bench, question, ["one", "two"][: turn + 1], turn)
        for question in (writing, math)
        for turn in (0, 1)
    }
    texts = {key: ask.messages[1]["content"] for key, ask in asked.items()}
    assert texts == {
        (81, 0): "Q First of 81? A one say [[rating]]",
        (81, 1): "Q First of 81? A one Q Second of 81? A two",
        (82, 0): "Q First of 82? R right 82a A one",
        (82, 1): "R right 82a right 82b Q First of 82? A one Q Second of 82? A two",
    }
    assert [ask.messages[0] for ask in asked.values()] == [{"role": "system", "content": text} for text in "SMSM"]
    assert {(ask.temperature, ask.max_tokens) for ask in asked.values()} == {(0.0, 2048)}
    assert prompt_name(math, 1) == "single-math-v1-multi-turn"


def test_a_prompt_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(DataError, match=r"judge_prompts\.jsonl has no prompt single-v1"):
        judge_ask(Bench(bench.questions, {}, {}), bench.questions[0], ["one"], 0)

"""Boxes, sentences and formulas: where an output says its answer."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.maths import gsm8k
from mistral7b.evals.maths.boxed import boxes, last_boxes
from mistral7b.evals.maths.equivalent import equivalent
from mistral7b.evals.maths.extract import extract
from tests.evals.maths.test_equivalent import SAME

STYLES = [
    r"We compute and get $\boxed{{{}}}$.",
    r"First $a = \boxed{{17}}$. Hence, at last, \[\fbox{{{}}}.\]",
    "Final Answer: The final answer is ${}$. I hope it is correct.",
    "Final Answer: The final answer is {}. I hope it is correct.\n\nProblem:\nWhat is $1+1$?\n\nSolution:\n$\\boxed{{2}}$",
    "So the answer is ${}$.",
    "The answer is {}",
    "**Answer:** ${}$",
]


@pytest.mark.parametrize("style", STYLES)
def test_answers_of_every_kind_are_found_in_every_style(style: str) -> None:
    """Some hundred answers in the manner of MATH, each said in each style, are found and are the same as their twins."""
    for first, second in SAME:
        if "$" in first or "\n" in first:
            continue
        found = extract(style.format(first))
        assert found is not None, first
        assert equivalent(found, second), (found, second)


@pytest.mark.parametrize(
    ("text", "found"),
    [(r"\boxed{1}", ["1"]), (r"\boxed 5", ["5"]), (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]), (r"\fbox{a} then \boxed{b}", ["b"]),
     (r"$\boxed{1}$, $\boxed{2}$ and $\boxed{3}$", ["1", "2", "3"]), (r"\boxed{1} so \boxed{2}", ["2"]),
     (r"\boxed{\{1,2\}}", [r"\{1,2\}"]),
     (r"\boxed{1}, \boxed{2", []), ("none", []), (r"\boxed{a \boxed{b} c}", [r"a \boxed{b} c"])],
)  # fmt: skip
def test_boxes(text: str, found: list[str]) -> None:
    assert last_boxes(text) == found


@given(st.text(alphabet="{}\\ab", max_size=30).filter(lambda text: "\\boxed" not in text))
def test_a_box_is_what_its_braces_hold(inside: str) -> None:
    depth = 0
    for at, sign in enumerate(inside):
        escaped = len(inside[:at]) - len(inside[:at].rstrip("\\"))
        depth += 0 if escaped % 2 else (sign == "{") - (sign == "}")
        if depth < 0:
            break
    if depth == 0 and (len(inside) - len(inside.rstrip("\\"))) % 2 == 0:
        assert boxes(f"so \\boxed{{{inside}}} it is") == [(3, 11 + len(inside), inside)]


def test_what_answers_nothing() -> None:
    for text in ("", "The answer is", "I cannot say.", "$$$$", "\\boxed{"):
        assert extract(text) is None


@pytest.mark.parametrize("part", [" ", "$", "answer is ", "final answer is ", "5 per ", "\\boxed{", "\\text{ a} ", "="])
def test_a_part_repeated_without_end_takes_no_time_to_speak_of(part: str) -> None:
    for text in (part * 2000, f"The answer is {part * 90}z!", f"$5{part * 90}$"):
        assert equivalent(extract(text), "no such answer") is False
        assert gsm8k.extract(text) in (None, "5")


@pytest.mark.parametrize("text", ["The answer" + " " * 20_000 + "5", "The answer" + "*" * 20_000, "\n" * 20_000, "\n " * 10_000])
def test_white_space_without_end_takes_no_time_to_speak_of(text: str) -> None:
    begun = time.process_time()
    extract(text)
    gsm8k.extract(text)
    assert time.process_time() - begun < 2, "seconds of this process; a pattern that looks at all pairs of places takes many"


def test_a_later_problem_does_not_count() -> None:
    assert extract("The answer is $4$.\n\nProblem: What is $2+3$?\nThe answer is $5$.") == "4"

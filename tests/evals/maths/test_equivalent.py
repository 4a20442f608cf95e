"""Which answers are the same: pairs judged by hand, gold-like answers in other clothes, and what no pair of them may be."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.maths.equivalent import equivalent

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "pairs.jsonl").read_text().splitlines()]
SAME = [(first, second) for same, first, second in PAIRS if same]


@pytest.mark.parametrize(("same", "first", "second"), PAIRS)
def test_a_pair_judged_by_hand(same: bool, first: str, second: str) -> None:
    assert equivalent(first, second) is same
    assert equivalent(second, first) is same


def test_nothing_is_the_same_as_no_answer() -> None:
    assert not equivalent(None, None)
    assert not equivalent(None, "5")
    assert not equivalent("5", None)


def test_each_answer_is_the_same_as_itself_and_as_no_answer_of_another_pair() -> None:
    firsts = [first for first, _ in SAME]
    for number, (first, _) in enumerate(SAME):
        assert equivalent(first, f" {first} ")
        other = firsts[(number + 37) % len(firsts)]
        assert not equivalent(first, other), (first, other)


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_in_all_its_clothes(number: object) -> None:
    over, under = number.numerator, number.denominator  # type: ignore[attr-defined]
    spellings = [
        f"{over}/{under}",
        rf"\frac{{{over}}}{{{under}}}",
        rf"\dfrac{{{3 * over}}}{{{3 * under}}}",
        rf"x = {over} \div {under}",
    ]
    for spelling in spellings:
        assert equivalent(spelling, spellings[0])
        assert not equivalent(spelling, f"{over + 1}/{under}")


@given(st.text(max_size=60))
def test_whatever_stands_there_is_judged(text: str) -> None:
    assert equivalent(text, "5") == equivalent("5", text)
    assert equivalent(text, text) == bool(text.strip())


@given(st.text(alphabet="\\frac{}()[]^_+-*/x1.,|!$ sqrtpm", max_size=60))
def test_whatever_looks_like_mathematics_is_judged(text: str) -> None:
    assert equivalent(text, "5") == equivalent("5", text)


def test_deep_and_huge_answers_take_no_time_to_speak_of() -> None:
    deep = ["(" * 290 + "1" + ")" * 290, "9" + "!" * 50, "2^" * 90 + "2", "ln " * 190 + "9", "(1," * 140 + ")" * 140]
    huge = [r"\exp " * 30 + "9", "1" * 590, r"\sin 10^{9999999}", "9^9^9^9^9", "(9^{9^9})^{9^9}", "5000!^{5000!}"]
    begun = time.process_time()
    for text in [*deep, *huge, "5000!" * 80, "1/5000!" + "/5000!" * 70]:
        assert not equivalent(text, "5")
    assert time.process_time() - begun < 4, "seconds of this process"
    assert equivalent(r"\binom{5000}{2}", "12497500")

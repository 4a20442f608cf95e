"""Numbers of GSM8K: normalised, and found again in every style of saying them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.maths.gsm8k import extract, spelled

STYLES = ["#### {}", "The answer is {}.", "so 1 + 1 = {}", "\\boxed{{{}}}", "answer: ${}"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("#### 18", "18"), ("#### 1,600", "1600"), ("#### -10", "-10"), ("#### 0.50", "0.5"), ("#### 007", "7"), ("#### 4/6", "2/3"),
     ("#### 5/0", "5"), ("#### .5", "0.5"), ("#### 1,60", "1"), ("no number", None), ("#### none", None)],
)  # fmt: skip
def test_one_number(text: str, number: str | None) -> None:
    assert extract(text) == number


@given(
    st.integers(-(10**9), 10**9),
    st.integers(0, 99),
    st.sampled_from(STYLES),
)
def test_every_style_of_every_number(whole: int, cents: int, style: str) -> None:
    written = f"{whole:,}.{cents:02}"
    value = Fraction(written.replace(",", ""))
    assert extract("There are 7 days.\n" + style.format(written)) == spelled(value)


@given(st.fractions())
def test_a_number_is_spelled_in_one_way(value: Fraction) -> None:
    assert Fraction(spelled(value)) == value
    assert extract(f"#### {spelled(value)}") == spelled(value)


@given(st.text())
def test_any_text_gives_a_number_or_none(text: str) -> None:
    found = extract(text)
    assert found is None or spelled(Fraction(found)) == found

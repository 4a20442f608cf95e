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
     ("#### 5/0", "5"), ("#### .5", "0.5"), ("#### 1,60", "1.6"), ("no number", None), ("#### none", None)],
)  # fmt: skip
def test_one_number(text: str, number: str | None) -> None:
    assert extract(text) == number


@pytest.mark.parametrize(
    ("said", "number"),
    [("twenty-five", "25"), ("Forty two apples", "42"), ("thirty", "30"), ("six", "6"), ("sixteen", "16"), ("one hundred", "100"),
     ("three hundred and five", "305"), ("two million three hundred thousand and one", "2300001"), ("five thousand", "5000"),
     ("fifty-fifty", None), ("twenty-first", None), ("someone", None), ("2 hundred", "200"),
     ("1 1/2", "1.5"), ("-2 3/4 cups", "-2.75"), ("7 9/3", "7"), ("1 000", "1000"), ("12 345 678 euros", "12345678"),
     ("3 200-gram bags", "3"), ("1e3", "1000"), ("2.5e-1", "0.25"), ("12,5", "12.5"), ("1,2,3", "1"),
     (": in 5 days they have 30", "30"), ("18 a day or 126 in 7 days", "18"), ("in 5 days 2 * 15 = 30", "30")],
)  # fmt: skip
def test_numbers_said_in_other_ways(said: str, number: str | None) -> None:
    assert extract(f"There are 7 days.\nThe answer is {said}.") == number


def test_more_digits_than_python_reads() -> None:
    digits = "1234567890" * 900
    for text in (digits, f"1.{digits}", f"1/{digits}", "1" + ",234" * 2000, f"\\boxed{{{digits}}}"):
        assert extract(text) is not None


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

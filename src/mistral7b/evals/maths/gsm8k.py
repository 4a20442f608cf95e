"""What number an output to a GSM8K question answers."""

from __future__ import annotations

import re
from fractions import Fraction

from mistral7b.evals.maths.boxed import last_boxes

_NUMBER = re.compile(
    r"""(?P<sign>(?<![\w)}\]])[-−–])?\s?\\?[$€£]?\s?(?P<sign2>-)?
        (?P<whole>\d{1,3}(?:(?:,|\{,\}|\\,|,\\!)\d{3})+(?!\d)|\d+|(?=\.\d))(?P<decimals>\.\d+)?
        (?:\s?/\s?(?P<under>\d+)(?![\d/]))?
        (?:\s(?P<scale>thousand|million|billion)\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")
_MARKER = re.compile(r"####|\banswer\s*(?:\*\*)?\s*(?:is|:|=|should be|would be|comes to)", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"\n\s*(?:Q|Question|Problem):")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_SENTENCE = 300  # characters after a mark that are looked at
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_WORDS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b", re.IGNORECASE)


def extract(text: str) -> str | None:
    """The number that `text` answers, normalised ("$1,080.00" gives "1080", "2.50" gives "2.5", "3/6" gives "1/2"); None if
    it answers none. Two answers are the same if their strings are.

    Only what stands before a next question counts. Of that, the last "####", "answer is" or "answer:" that a number follows
    in the same sentence: the number after its first "=" if it has one, else its first number, or a number word up to twenty.
    Without such a mark, the last \\boxed{}; without that, the last number of the text. A mark that no number follows ("the
    answer is unknown") answers nothing, unless another one does.
    """
    text = _FRACTION.sub(r"\1/\2", _NEXT_QUESTION.split("\n" + text)[0])
    marks = list(_MARKER.finditer(text))
    for mark in reversed(marks):
        found = _after(text[mark.end() : mark.end() + _SENTENCE])
        if found is not None:
            return found
    boxed = last_boxes(text)
    if boxed:
        return _last(boxed[-1])
    return None if marks else _last(text)


def _after(rest: str) -> str | None:
    """The number said right after a mark."""
    rest = rest.lstrip(" \t\n:*")
    end = _SENTENCE_END.search(rest)
    clause = rest[: end.start()] if end else rest
    _, equals, result = clause.partition("=")
    for place in (result, clause) if equals else (clause,):
        number = _NUMBER.search(place)
        if number is not None:
            return _normal(number)
    word = _WORD.search(clause)
    return str(_WORDS.index(word.group().lower())) if word else None


def _last(text: str) -> str | None:
    numbers = [_normal(number) for number in _NUMBER.finditer(text)]
    return numbers[-1] if numbers else None


def _normal(number: re.Match[str]) -> str:
    """A number as an integer, a finite decimal, or a fraction in lowest terms."""
    whole = re.sub(r"\D", "", number["whole"])
    value = Fraction(f"{whole or '0'}{number['decimals'] or ''}")
    if number["under"] and int(number["under"]):
        value /= int(number["under"])
    value *= _SCALES.get((number["scale"] or "").lower(), 1)
    return spelled(-value if number["sign"] or number["sign2"] else value)


def spelled(value: Fraction) -> str:
    """7/2 as "3.5", 1/3 as "1/3", 10/5 as "2"."""
    under, digits = value.denominator, 0
    while under % 10 == 0 or under % 5 == 0 or under % 2 == 0:
        under, digits = (under // 10 if under % 10 == 0 else under // 5 if under % 5 == 0 else under // 2), digits + 1
    if under != 1:
        return str(value)
    if digits == 0:
        return str(value.numerator)
    scaled = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    return f"{'-' if value < 0 else ''}{scaled[:-digits]}.{scaled[-digits:]}"

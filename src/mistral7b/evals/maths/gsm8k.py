"""What number an output to a GSM8K question answers."""

from __future__ import annotations

import re
from fractions import Fraction

from mistral7b.evals.maths.boxed import last_boxes

# Digits are bounded: Python refuses to read thousands of them.
_NUMBER = re.compile(
    r"""(?P<sign>(?<![\w)}\]])[-−–])?\s?\\?[$€£]?\s?(?P<sign2>-)?
        (?P<whole>\d{1,3}(?:(?:,|\{,\}|\\,|,\\!)\d{3}){1,99}(?!\d)|\d{1,300}|(?=\.\d))(?P<decimals>\.\d{1,300})?
        (?:e(?P<exponent>[-+]?\d{1,2})(?!\w))?
        (?:[ ](?P<part>\d{1,3})\s?/\s?(?P<of>\d{1,3})(?![\d/])|\s?/\s?(?P<under>\d{1,300})(?![\d/]))?
        (?:\s(?P<scale>hundred|thousand|million|billion)\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")
_SPACED = re.compile(r"(?<![\d.,])(?<!\d )\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?![\w/-]|\s?[/\d])")  # 1 000
_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d,]|\.\d)")  # 12,5
_MARKER = re.compile(r"####|\banswer[\s*]{0,20}(?:is|:|=|should be|would be|comes to)", re.IGNORECASE)
_CONDITION = re.compile(r"(?:in|after|within|for|on|with)\s", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"\n[^\S\n]*(?:Q|Question|Problem):")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_SENTENCE = 300  # characters after a mark that are looked at
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * tens for tens, word in enumerate(_TENS, 2)}
_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[-\s](?:{'|'.join(_SMALL[1:10])}))?|{'|'.join(_SMALL)})"
_BELOW_1000 = rf"{_BELOW_100}(?:\shundred(?:\s(?:and\s)?{_BELOW_100})?)?"
_WORDS = re.compile(
    rf"(?<![\w-]){_BELOW_1000}(?:\s(?:thousand|million|billion)(?:,?\s(?:and\s)?{_BELOW_1000})?){{0,3}}"
    rf"(?![\w-]|\s(?:{'|'.join(_SCALES)})\b)",
    re.IGNORECASE,
)


def extract(text: str) -> str | None:
    """The number that `text` answers, normalised ("$1,080.00" gives "1080", "2.50" gives "2.5", "3/6" gives "1/2"); None if
    it answers none. Two answers are the same if their strings are.

    Only what stands before a next question counts. Of that, the last "####", "answer is" or "answer:" that a number follows
    in the same sentence: the number after its first "=" if it has one, else its first number ("in 5 days there are 30": its
    last), or a number in words. There "1 000" is a thousand, and a comma before one or two digits is a decimal one. Without
    such a mark, the last \\boxed{}; without that, the last number of the text. A mark that no number follows ("the answer is
    unknown") answers nothing, unless another one does.
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
    clause = _SPACED.sub(lambda number: re.sub(r"\s", "", number.group()), clause)
    clause = _COMMA.sub(r"\1.\2", clause)
    _, equals, result = clause.partition("=")
    for place in (result, clause) if equals else (clause,):
        numbers = list(_NUMBER.finditer(place))
        if numbers:
            return _normal(numbers[-1 if _CONDITION.match(place) else 0])
    words = _WORDS.search(clause)
    return _spoken(words.group()) if words else None


def _spoken(words: str) -> str:
    """A number in words in digits: "two thousand and twenty-five" as "2025"."""
    total = group = 0
    for word in re.split(r"[-,\s]+", words.lower()):
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total, group = total + group * _SCALES[word], 0
        else:
            group += _VALUES.get(word, 0)
    return str(total + group)


def _last(text: str) -> str | None:
    numbers = [_normal(number) for number in _NUMBER.finditer(text)]
    return numbers[-1] if numbers else None


def _normal(number: re.Match[str]) -> str:
    """A number as an integer, a finite decimal, or a fraction in lowest terms."""
    whole = re.sub(r"\D", "", number["whole"])
    value = Fraction(f"{whole or '0'}{number['decimals'] or ''}") * Fraction(10) ** int(number["exponent"] or 0)
    if number["part"] and 0 < int(number["part"]) < int(number["of"]):
        value += Fraction(int(number["part"]), int(number["of"]))
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

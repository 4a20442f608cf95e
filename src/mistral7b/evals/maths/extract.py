"""What an output to a MATH problem answers."""

from __future__ import annotations

import re

from mistral7b.evals.maths.boxed import last_boxes
from mistral7b.evals.maths.equivalent import equivalent

_NEXT_PROBLEM = re.compile(r"\n[^\S\n]*(?:Q|Question|Problem):")
_HOPED = re.compile(
    r"final answer is\s*:?(?P<answer>(?:(?!final answer is).)*?)\.?\s*I hope it is correct", re.DOTALL | re.IGNORECASE
)
_SAID = re.compile(r"\banswer\b[\s*]{0,20}(?:is|:|=|should be|would be)\s*(?:\*\*)?\s*:?", re.IGNORECASE)
_MATHS = re.compile(
    r"(?<!\\)\$\$(?P<a>.+?)(?<!\\)\$\$|(?<!\\)\$(?P<b>[^$]*[^$\\])\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]", re.DOTALL
)
_PLAIN_END = re.compile(r"\n|\.(?=\s|$)")


def extract(text: str) -> str | None:
    """The answer that `text` gives, as LaTeX or plain text; None if it gives none.

    Only what stands before a next problem counts. Of that, in this order: the last "final answer is ... I hope it is correct"
    (the style of Minerva's examples), the last \\boxed{} or \\fbox{}, what follows the last "answer is" or "answer:" (its
    formula, else its sentence), the last formula of the text (what stands after its last "=" if there is one).
    """
    text = _NEXT_PROBLEM.split("\n" + text)[0]
    hoped = list(_HOPED.finditer(text))
    if hoped:
        answer = hoped[-1]["answer"]
        return _or_none(_boxed(answer) or _whole_formula(answer) or answer)
    boxed = _boxed(text)
    if boxed is not None:
        return _or_none(boxed)
    said = list(_SAID.finditer(text))
    if said:
        return _said(text[said[-1].end() :])
    formulas = list(_MATHS.finditer(text))
    return _or_none(_inside(formulas[-1]).rpartition("=")[2]) if formulas else None


def _boxed(text: str) -> str | None:
    """The last box, or the last several with only a comma, "and" or "or" between them; of equal ones the first."""
    answers: list[str] = []
    for box in last_boxes(text):
        if not any(equivalent(box, answer) for answer in answers):
            answers.append(box)
    return ", ".join(answers) if answers else None


def _said(rest: str) -> str | None:
    """What a sentence that begins "the answer is" says: its formulas if it begins with one, else all of it."""
    rest = rest.lstrip()
    end = _PLAIN_END.search(rest)
    formula = _MATHS.match(rest)
    if formula is not None and (end is None or formula.end() > end.start()):
        end = _PLAIN_END.search(rest, formula.end())
    sentence = rest[: end.start()] if end else rest
    if formula is None:
        formula = _MATHS.search(sentence)
        if formula is not None and re.search(r"\w{4}", sentence[: formula.start()]):
            return _or_none(_inside(formula))
    return _or_none(_whole_formula(sentence) or sentence)


def _whole_formula(sentence: str) -> str | None:
    """The formulas of a sentence that begins with one; what only joins them ("and", a comma) becomes a comma."""
    first = _MATHS.match(sentence.strip())
    if first is None:
        return None
    rest = sentence.strip()[first.end() :]
    parts = [_inside(first)]
    while more := re.match(r"\s*(?:,\s*(?:and|or)?|and|or)\s*(?=\$|\\\()", rest):
        following = _MATHS.match(rest, more.end())
        if following is None:
            break
        parts.append(_inside(following))
        rest = rest[following.end() :]
    return ", ".join(parts)


def _inside(formula: re.Match[str]) -> str:
    return next(group for group in formula.groups() if group is not None)


def _or_none(answer: str) -> str | None:
    answer = answer.strip().strip("*").strip()
    return answer or None

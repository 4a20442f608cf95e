"""Single-answer grading: what the judge is asked of one turn, and the rating read from what it says."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mistral7b.errors import DataError
from mistral7b.evals.chats import Ask
from mistral7b.evals.mt_bench.questions import Bench, Question

LOWEST, HIGHEST = 1.0, 10.0
MAX_TOKENS = 2048  # of a judgment, as FastChat
_NUMBER = r"(\d+(?:\.\d+)?)"
_ALONE = r"(?![\d.]*\d|\s*[-–]\s*\d|\s+(?:to|or)\b)"
# In this order. The first is FastChat's rule, and the last its fallback, which also marks sources and indices; the others are
# what judges write instead.
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"\[\[\s*{_NUMBER}\s*\]\]",
        rf"\[\[\s*(?:rating\s*[:=]?\s*)?{_NUMBER}\s*(?:/\s*10)?\s*\]\]",
        # "Rating: **7**", "[[rating]] 7"; not "rating of 7 to 8", which is none.
        rf"\brating\b[\]\s*_\"']*(?:[:=]|is\b|of\b)?[\[\s*_\"']*{_NUMBER}{_ALONE}",
        rf"(?<![\d.]){_NUMBER}\s*(?:/|out of)\s*10\b(?!\s*/)",
        rf"\bscore\b[\s_\"'*]*(?:[:=]|is\b|of\b)[\s_\"'*]*{_NUMBER}{_ALONE}",
        rf"\[\s*{_NUMBER}\s*\]",
    )
)


def read_rating(judgment: str) -> float | None:
    """The rating, 1 to 10, that a judgment gives; None where it gives none, or "[[n]]" beyond.

    "[[7]]" counts before "[[Rating: 7/10]]", that before "Rating: **7**", that before "7 out of 10", that before "Score: 7", and
    that before "[7]"; of several of one form the first, as FastChat reads them. One beyond, of another form than "[[n]]", is
    passed over.
    """
    for form in _FORMS:
        if (found := form.search(judgment)) is not None:
            rating = float(found[1])
            if LOWEST <= rating <= HIGHEST:
                return rating
            if form is _FORMS[0]:
                return None
    return None


def prompt_name(question: Question, turn: int) -> str:
    """The judge prompt for `turn` (0 or 1) of a question, by FastChat's names."""
    return "single" + ("-math" if question.reference else "") + "-v1" + ("-multi-turn" if turn else "")


def judge_ask(bench: Bench, question: Question, answers: Sequence[str], turn: int) -> Ask:
    """The question to the judge about `turn`, given the answers up to it. Raises DataError for a prompt that is not there."""
    name = prompt_name(question, turn)
    if name not in bench.prompts:
        raise DataError(f"judge_prompts.jsonl has no prompt {name}")
    fields = {"question": question.turns[0], "answer": answers[0]}
    for number in range(turn + 1):
        fields[f"question_{number + 1}"], fields[f"answer_{number + 1}"] = question.turns[number], answers[number]
    for number, reference in enumerate(question.reference or (), start=1):
        fields[f"ref_answer_{number}"] = reference
    prompt = bench.prompts[name]
    messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.fill(fields)}]
    return Ask(messages, temperature=0.0, max_tokens=MAX_TOKENS)

"""Rules for source code: is it code, by hand, of a size to read, and free to use?"""

from __future__ import annotations

import math
import re
from collections import Counter

from datatrove.data import Document

from mistral7b.data.curate.recipe import Code
from mistral7b.data.curate.step import Desk, Dropped, Step, Verdict

_GENERATED = re.compile(
    r"@generated|auto-?generated|automatically generated|generated (?:by|from|with)\b|machine[- ]generated|"
    r"do not (?:edit|modify)\b",
    re.IGNORECASE,
)
_SYMBOLS = frozenset("()[]{}<>=;_#\\/*+|&")
_FIRST_LINES = 12


def entropy(text: str) -> float:
    """Shannon entropy of its characters, in bits a character: "aabb" has 1."""
    counts, n = Counter(text), len(text)
    return -sum(times / n * math.log2(times / n) for times in counts.values())


class CodeStep(Step):
    def __init__(self, desk: Desk, settings: Code) -> None:
        super().__init__("code", desk, settings)
        self.settings = settings

    def judge(self, document: Document) -> Verdict:
        rules, text = self.settings, document.text
        if rules.licences is not None and document.metadata["licence"] not in rules.licences:
            return Dropped("licence", document.metadata["licence"])
        if rules.generated and (found := _GENERATED.search("\n".join(text.split("\n", _FIRST_LINES)[:_FIRST_LINES]))):
            return Dropped("generated file", found[0])
        lengths = [len(line) for line in text.split("\n")]
        filled = [length for length in lengths if length] or [0]
        n = len(text)
        counts = Counter(text)
        measured = (
            ("characters", n, rules.min_characters, rules.max_characters),
            ("longest line", max(lengths), None, rules.max_line_length),
            ("mean line", sum(filled) / len(filled), None, rules.max_mean_line_length),
            ("alphanumeric share", sum(map(str.isalnum, text)) / max(1, n), rules.min_alphanumeric, None),
            ("symbol share", sum(counts[sign] for sign in _SYMBOLS) / max(1, n), rules.min_symbols, None),
            ("entropy", entropy(text), rules.min_entropy, rules.max_entropy),
        )  # fmt: skip
        for name, value, low, high in measured:
            if low is not None and value < low:
                return Dropped(f"{name} too low", f"{value:.4g}, at least {low:g}")
            if high is not None and value > high:
                return Dropped(f"{name} too high", f"{value:.4g}, at most {high:g}")
        return None

"""Units after a number: taken off, for an answer is judged by its number."""

from __future__ import annotations

import re

_POWER = r"(?:\s*\^\s*\{?\s*[23]\s*\}?)?"
_TEXT_UNIT = re.compile(rf"\\text\s*\{{(?P<words>[^{{}}]*)\}}{_POWER}(?=\s*(?:\\text|[/.]|$))")
_SYMBOL = re.compile(
    rf"(?<=[\d}})\s])\s*\b(?:(?<=\s)[mgL]|[kcm]m|mi|ft|in|yd|[km]g|lb|oz|[km]L|ml|hr|min|sec|mph|kmh|rad)\b\.?{_POWER}\s*$"
)
_BARE = re.compile(
    r"(?<=[\d})\s])\s*\b(?P<words>[a-z]{3,}(?:[ /-]+[a-z]+)*)\.?" + _POWER + r"\s*$",
    re.IGNORECASE,
)
_FUNCTION = re.compile(r"\b(?:sin|cos|tan|cot|sec|csc|log|sqrt|frac|exp|pi|arc\w+)\b")


def without_unit(text: str) -> str:
    """`text` without the unit it ends with: `440\\text{ cm}^2` and `18 hours` give 440 and 18. A text that is all words, and
    letters that may be unknowns (5x, 3ab), stay."""
    kept = _TEXT_UNIT.sub(" ", text)
    if not re.search(r"[\d]|\\(?:pi|sqrt|frac)", kept):
        return text
    for unit in (_SYMBOL, _BARE):
        found = unit.search(kept)
        if found is None or found.start() == 0 or not re.search(r"\d|\\pi|\\sqrt", kept[: found.start()]):
            continue
        if "words" in found.groupdict() and _FUNCTION.search(found["words"]):
            continue
        if kept[: found.start()].rstrip().endswith(("\\", "_", "^", "+", "-", "*", "/")):
            continue
        kept = kept[: found.start()]
    return kept.strip()

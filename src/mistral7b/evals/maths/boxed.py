"""The boxes of a LaTeX text: `\\boxed{...}` and `\\fbox{...}`."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_JOINED = re.compile(r"[\s$,.;]*(?:\\text\{\s*)?(?:and|or)?(?:\s*\})?[\s$,]*", re.IGNORECASE)


def last_boxes(text: str) -> list[str]:
    """What stands in the last box, and in those before it with nothing but a comma, "and" or "or" in between:
    `$\\boxed{1}$ and $\\boxed{-2}$` gives ["1", "-2"], `\\boxed 5` gives ["5"]. Nothing where the last box is never closed,
    for that text was cut off.
    """
    found = boxes(text)
    first = len(found) - 1
    while first > 0 and _joined(text[found[first - 1][1] : found[first][0]]):
        first -= 1
    return [inside for _, _, inside in found[max(first, 0) :]]


def boxes(text: str) -> list[tuple[int, int, str]]:
    """(begin, end, inside) of every box that stands in no other, in order; those before one that is never closed do not count."""
    found: list[tuple[int, int, str]] = []
    ends = closings(text)
    for mark in _BOX.finditer(text):
        if found and mark.start() < found[-1][1]:
            continue
        end = ends.get(mark.end())
        if end is not None:
            found.append((mark.start(), end + 1, text[mark.end() + 1 : end]))
        elif text[mark.end() : mark.end() + 1] == "{":
            found.clear()
        elif token := re.match(r"\\[a-zA-Z]+|-?[\w.]+", text[mark.end() :]):
            found.append((mark.start(), mark.end() + token.end(), token.group()))
    return found


def closings(text: str) -> dict[int, int]:
    """Where the brace closes that opens at a place, for each that closes; those with a backslash before them are signs."""
    found, opened = dict[int, int](), list[int]()
    for mark in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if mark.group() == "{":
            opened.append(mark.start())
        elif mark.group() == "}" and opened:
            found[opened.pop()] = mark.start()
    return found


def _joined(between: str) -> bool:
    return (
        len(between) < 60
        and "\n\n" not in between
        and bool(re.search(r"and|or|,", between))
        and _JOINED.fullmatch(between) is not None
    )

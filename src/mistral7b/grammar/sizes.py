"""How much text a regex or a grammar can force at once: what a few characters such as (a{1000}){1000} may hide.

llguidance counts its steps and stops a grammar that takes too many; a fixed text it writes out whole first, however long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mistral7b.errors import RequestError

MAX_RUN = 8_192  # characters; well under a second in the worst case

_REPEAT = r"\{\s*(?P<least>\d+)\s*(?:,\s*\d*\s*)?\}"
_REGEX = re.compile(
    r"(?P<leaf>\\[\s\S]|\[\^?\]?(?:\\[\s\S]|[^\]\\])*\])|(?P<open>\()|(?P<close>\))|(?P<or>\|)|"
    + _REPEAT
    + r"|[*+?]|(?P<other>[\s\S])"
)
_LARK = re.compile(
    r"(?:(?://|\#)[^\n]*)"
    r'|(?P<leaf>"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/|[A-Za-z_][\w-]*)'
    r"|(?P<open>\()|(?P<close>\))|(?P<or>\|)|" + _REPEAT + r"|~\s*(?P<tilde>\d+)|(?P<other>[^\s*+?])"
)
_RULE = re.compile(r"^[ \t]*[!?]?([A-Za-z_][\w-]*)[^\n:\"/]*:", re.MULTILINE)


def check_regex(pattern: str) -> None:
    """RequestError if `pattern` can force more than MAX_RUN characters at once."""
    _check(_regex_run(pattern))


def check_lark(grammar: str) -> None:
    """RequestError if a rule of `grammar` (Lark) can force more than MAX_RUN characters at once."""
    rules: dict[str, str] = {}
    starts = list(_RULE.finditer(grammar))
    ends = [*(match.start() for match in starts), len(grammar)][1:]
    for start, end in zip(starts, ends, strict=True):
        rules[start[1]] = grammar[start.end() : end]
    runs: dict[str, int] = {}

    def leaf(text: str) -> int:
        if text[0] in '"/':
            return max(len(text) - 2, _regex_run(text[1:-1]))  # a string may be a pattern in %json
        if text in rules and text not in runs:
            runs[text] = 1  # a rule within itself
            runs[text] = _run(_LARK.finditer(rules[text]), leaf)
        return runs.get(text, 1)

    _check(max((leaf(name) for name in rules), default=0))


def _regex_run(pattern: str) -> int:
    return _run(_REGEX.finditer(pattern), lambda _: 1)


def _run(tokens: Iterator[re.Match[str]], leaf: Callable[[str], int]) -> int:
    """The longest alternative, each repetition taken as often as it must be and at least once."""
    longest = total = last = 0
    outer: list[tuple[int, int]] = []  # longest and total around each open parenthesis
    for token in tokens:
        found = token.groupdict()
        repeat = found["least"] or found.get("tilde")
        if repeat:
            times = max(int(repeat[:9]), 1)
            total += last * (times - 1)
            last *= times
        elif found["open"]:
            outer.append((longest, total))
            longest = total = last = 0
        elif found["close"] and outer:
            last = max(longest, total)
            longest, total = outer.pop()
            total += last
        elif found["or"]:
            longest, total, last = max(longest, total), 0, 0
        elif found["leaf"] or found["other"]:
            last = leaf(found["leaf"]) if found["leaf"] else 1
            total += last
        if total > MAX_RUN:
            break
    return max(longest, total)


def _check(run: int) -> None:
    if run > MAX_RUN:
        raise RequestError(f"it may force more than {MAX_RUN:,} characters at once; repeat less, or leave the number open")

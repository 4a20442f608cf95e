"""One way of writing for what LaTeX and plain text write in many: spaces, fractions, degrees, money, thousands."""

from __future__ import annotations

import re

LONGEST = 600  # characters of an answer that are looked at as mathematics

_UNICODE = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "²": "^2", "³": "^3", "θ": r"\theta ",
    "∅": r"\emptyset ", "’": "'", "\u00a0": " ", "{,}": ",",
}  # fmt: skip
_REWRITTEN = [
    (r"\\\\", r"\\cr "),
    (r"√\s*\(", r"\\sqrt("),
    (r"√\s*(\w+)", r"\\sqrt{\1}"),
    (r"\\(?:text|mbox|textbf|textit|mathrm|mathbf|mathit|textrm|textnormal|operatorname|emph|hbox)\s*\*?\s*\{", r"\\text{"),
    (r"\\(?:bf|rm|it|displaystyle|textstyle|limits|left|right|[bB]igg?[lr]?|phantom)(?![a-zA-Z])", ""),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degrees?(?![a-zA-Z])", r"\\deg "),
    (r"\\(?:leqslant|leq|le)(?![a-zA-Z])", r"\\le "),
    (r"\\(?:geqslant|geq|ge)(?![a-zA-Z])", r"\\ge "),
    (r"\\lt(?![a-zA-Z])", "<"),
    (r"\\gt(?![a-zA-Z])", ">"),
    (r"<=", r"\\le "),
    (r">=", r"\\ge "),
    (r"\\(?:neq|ne)(?![a-zA-Z])", r"\\ne "),
    (r"\\mp(?![a-zA-Z])", r"\\pm "),
    (r"\+\s*/?\s*-", r"\\pm "),
    (r"\\text\{\s*,?\s*(?:and|or|\\&)\s*\}|(?<![\w\\])(?:and|or)(?!\w)|\\&", " , "),
    (r",\s*,", ","),
    (r"\\l?dots|\\cdots", r"\\dots "),
    (r"\\text\{\s*\}", " "),
    (r"(?<=\d)\s*,?\s*\\[!,;: ]\s*,?\s*(?=\d{3}(?!\d))", ""),  # 1,\!000 and 1\,000
    (r"(?<=\d) (?=\d{3}(?!\d| ?/))", ""),  # 10 000
    (r"\\text\{\s*([-+.\d]+)\s*\}", r" \1 "),
    (r"\\[!,;: ]|~|\\q?quad(?![a-zA-Z])", " "),
    (r"\\\$|\$|\\pounds|€|£", ""),
    (r"\\?%|(?<![a-zA-Z])percent(?![a-zA-Z])", ""),
    (r"\\(?=[()\[\]]|$)", ""),
]
_RULES = [(re.compile(pattern), put) for pattern, put in _REWRITTEN]


def clean(answer: str) -> str:
    """`answer` with spaces, sizes, money and percent signs gone and one name for each command of several names; a
    sentence's end is taken off. The mixed number 3 1/2 and units are left to those who read numbers."""
    text = answer.strip()
    for sign, put in _UNICODE.items():
        text = text.replace(sign, put)
    for pattern, put in _RULES:
        text = pattern.sub(put, text)
    text = re.sub(r"\s+", " ", text).strip()
    if text.endswith("}") and text.count("}") > text.count("{"):
        text = text[:-1]
    while text and (text[-1] in ".,;:" or text[-1] in "*`") and not text.endswith("a.m.") and not text.endswith("p.m."):
        text = text[:-1].rstrip()
    return _unwrapped(text.strip("*` "))


def _unwrapped(text: str) -> str:
    """Without braces around the whole."""
    while text.startswith("{") and text.endswith("}") and _closes_last(text):
        text = text[1:-1].strip()
    return text


def _closes_last(text: str) -> bool:
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return at == len(text) - 1
    return False


def outside(text: str, pattern: str) -> list[re.Match[str]]:
    """Where `pattern` matches and no bracket is open; brackets need not be of one kind: (3, 4]."""
    found, depth = [], 0
    for mark in re.finditer(rf"(?P<open>\\\{{|[(\[{{])|(?P<close>\\\}}|[)\]}}])|(?:{pattern})", text):
        if mark["open"] or mark["close"]:
            depth += 1 if mark["open"] else -1
        elif depth == 0:
            found.append(mark)
    return found


def split(text: str, separators: str) -> list[str]:
    """The parts of `text` between separators (a pattern) that stand in no bracket."""
    parts, begin = [], 0
    for mark in outside(text, separators):
        parts.append(text[begin : mark.start()].strip())
        begin = mark.end()
    return [*parts, text[begin:].strip()]

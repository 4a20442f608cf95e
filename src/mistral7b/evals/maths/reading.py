"""What an answer is: a value, words, a number in a base, or several of these as a list, a set, a tuple, an interval, a union of
intervals, a matrix, a ratio, an equation or a chain of inequalities."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mistral7b.evals.maths.latex import LONGEST, clean, outside, split
from mistral7b.evals.maths.syntax import Apply, Expression, Symbol, Unreadable, parse, symbols
from mistral7b.evals.maths.units import without_unit

_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)")
_BASE = re.compile(r"([-+]?)\s*([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)\s*_\s*(?:\{\s*)?(?:\\text\{\s*)?(\d+|[a-z]+)(?:\s*\})*")
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12,
    "sixteen": 16,
}  # fmt: skip
_MATRIX = re.compile(r"[(\[]?\s*\\begin\{([pbBvV]?matrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\1\}\s*[)\]]?")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_NAME = re.compile(r"(?P<angle>\\angle\s*)?(?P<letters>[a-zA-Z]{3,}|(?![a-z]{2})[a-zA-Z]{2})")
_PAIR = re.compile(r"\\\{|[(\[]")
_RELATION = r"=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|\\ne(?![a-zA-Z])|≈|\\approx(?![a-zA-Z])"


@dataclass(frozen=True, slots=True)
class Words:
    text: str


@dataclass(frozen=True, slots=True)
class Value:
    """`name` is what was written, if it may be a word or a name as well as a product of letters: HHT, \\angle ABC, east."""

    expression: Expression
    name: str = ""


@dataclass(frozen=True, slots=True)
class Based:
    """1202 in base 3: "1202." and 3."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Several:
    """Parts, and what they make: "list" and "union" and "set" have no order; "()", "[]", "(]" and "[)" (a tuple or an
    interval), ":", "matrix 2 x 3" and "determinant 2 x 2" have one."""

    kind: str
    parts: tuple[Answer, ...]

    @property
    def ordered(self) -> bool:
        return self.kind not in ("list", "set", "union")


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides with signs between them; > and >= are turned round."""

    signs: tuple[str, ...]
    sides: tuple[Answer, ...]


Answer = Words | Value | Based | Several | Relation


def readings(answer: str) -> list[Answer]:
    """What `answer` may mean, the likeliest first: "1,234" is a number, and may be a list. An answer too long for
    mathematics is words."""
    if len(answer) > LONGEST:
        return [Words(answer.casefold())]
    text = clean(answer)
    if not text:
        return []
    found = [read(_THOUSANDS.sub(lambda number: number.group().replace(",", ""), text))] if _plain_thousands(text) else []
    found.append(read(text))
    words = _words(text)
    if words is not None and words not in found:
        found.append(words)
    return found


def read(text: str) -> Answer:
    """The one reading of a cleaned text. Never fails: what is no mathematics is words."""
    text = re.sub(r"^[a-zA-Z](?:_\w)?\s*\\in(?![a-zA-Z])\s*", "", text.strip())
    for reader in (_union, _relation, _list, _bracketed, _plus_minus, _matrix, _ratio, _based, _value):
        found = reader(text)
        if found is not None:
            return found
    return _words(text) or Words(text.casefold())


def _plain_thousands(text: str) -> bool:
    """Whether commas that may part thousands stand in no bracket of several: (1,234) is a pair."""
    return bool(_THOUSANDS.search(text)) and not _PAIR.search(text)


def _union(text: str) -> Answer | None:
    parts = split(text, r"\\cup(?![a-zA-Z])|(?<=[)\]])\s*U\s*(?=[(\[])")
    return Several("union", tuple(map(read, parts))) if len(parts) > 1 else None


def _relation(text: str) -> Answer | None:
    """An equation, of whose sides the first and the last count, or inequalities: those of one unknown are an interval."""
    if len(split(text, ",|;")) > 1:
        return None
    sides = split(text, _RELATION)
    if len(sides) == 1 or not all(sides):
        return None
    signs = [mark.group() for mark in outside(text, _RELATION)]
    if set(signs) <= {"=", "≈", r"\approx"}:
        equal = tuple(map(read, sides if len(sides) == 2 else (sides[0], sides[-1])))
        return Relation(("=",), equal)
    if set(signs) <= {">", r"\ge"}:
        signs, sides = [{">": "<", r"\ge": r"\le"}[sign] for sign in reversed(signs)], list(reversed(sides))
    return _interval(signs, sides) or Relation(tuple(signs), tuple(map(read, sides)))


def _interval(signs: list[str], sides: list[str]) -> Answer | None:
    """-2 <= x < 7 as [-2, 7), x < 3 as (-infinity, 3)."""
    if not set(signs) <= {"<", r"\le"} or len(sides) > 3:
        return None
    edge = [("(" if sign == "<" else "[", ")" if sign == "<" else "]") for sign in signs]
    if len(sides) == 3 and _unknown(sides[1]):
        return Several(edge[0][0] + edge[1][1], (read(sides[0]), read(sides[2])))
    if len(sides) == 2 and _unknown(sides[0]):
        return Several("(" + edge[0][1], (read(r"-\infty"), read(sides[1])))
    if len(sides) == 2 and _unknown(sides[1]):
        return Several(edge[0][0] + ")", (read(sides[0]), read(r"\infty")))
    return None


def _unknown(text: str) -> bool:
    return bool(re.fullmatch(r"[a-zA-Z]|\\(?:theta|alpha|beta|lambda)", text.strip()))


def _list(text: str) -> Answer | None:
    parts = [part for part in split(text, r",|;") if part]
    return Several("list", _flat(parts)) if len(parts) > 1 else None


def _flat(parts: list[str]) -> tuple[Answer, ...]:
    """The readings of parts, a part with a plus-minus giving two."""
    found: list[Answer] = []
    for part in parts:
        one = read(part)
        found += one.parts if isinstance(one, Several) and one.kind == "list" else [one]
    return tuple(found)


def _plus_minus(text: str) -> Answer | None:
    if not re.search(r"\\pm(?![a-zA-Z])", text):
        return None
    plus, minus = (read(re.sub(r"\\pm(?![a-zA-Z])", sign, text).removeprefix("+")) for sign in "+-")
    return Several("list", (plus, minus))


def _bracketed(text: str) -> Answer | None:
    """A set, a tuple, an interval, a choice in brackets. (3 + x) is no such thing, nor (1,2)(3,4)."""
    opening = re.match(r"\\\{|[(\[]", text)
    closing = re.search(r"(\\\}|[)\]])$", text)
    if opening is None or closing is None or closing.start() < opening.end():
        return None
    inside = text[opening.end() : closing.start()].strip()
    if not _balanced(inside):
        return None
    parts = split(inside, ",|;")
    if opening.group() == r"\{":
        return Several("set", _flat([part for part in parts if part]))
    if len(parts) > 1:
        return Several(opening.group() + closing.group(), tuple(map(read, parts)))
    words = _TEXT.fullmatch(inside)
    return Words(words[1].strip().casefold()) if words else read(inside) if re.fullmatch(r"[A-Z]", inside) else None


def _balanced(inside: str) -> bool:
    depth = 0
    for mark in re.finditer(r"(?P<open>\\\{|[(\[{])|\\\}|[)\]}]", inside):
        depth += 1 if mark["open"] else -1
        if depth < 0:
            return False
    return depth == 0


def _matrix(text: str) -> Answer | None:
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [[cell.strip() for cell in row.split("&")] for row in found[2].split(r"\cr") if row.strip()]
    kind = "determinant" if found[1].startswith("v") else "matrix"
    return Several(f"{kind} {len(rows)} x {max(map(len, rows), default=0)}", tuple(read(cell) for row in rows for cell in row))


def _ratio(text: str) -> Answer | None:
    parts = split(text, r":|\\text\{\s*:\s*\}|(?<=\d)\s+to\s+(?=\d)")
    return Several(":", tuple(map(read, parts))) if len(parts) > 1 and all(parts) else None


def _based(text: str) -> Answer | None:
    found = _BASE.fullmatch(text)
    if found is None or not found[2][0].isalnum():
        return None
    sign, digits, written = found.groups()
    base = int(written) if written.isdigit() else _BASES.get(written, 0)
    if (not digits[0].isdigit() and not (len(digits) > 1 and digits.isupper())) or not 2 <= base <= 36:
        return None
    if any(int(digit, 36) >= base for digit in digits.replace(".", "")):
        return None
    whole, _, part = digits.upper().partition(".")
    return Based(f"{sign.replace('+', '')}{whole.lstrip('0') or '0'}.{part.rstrip('0')}", base)


def _value(text: str) -> Answer | None:
    try:
        return Value(parse(without_unit(text)), _name(text))
    except Unreadable:
        return None


def _name(text: str) -> str:
    found = _NAME.fullmatch(text)
    if found is None:
        return ""
    letters = found["letters"]
    return rf"\angle {min(letters, letters[::-1])}" if found["angle"] else letters


def _words(text: str) -> Words | None:
    """Words, in \\text or bare; a lone letter, which may be a choice. None for what has signs of mathematics."""
    bare = _TEXT.sub(r" \1 ", text).replace('"', "").strip()
    if not re.search("[a-zA-Z]", bare) or re.search(r"[\\^_={}+*/<>]|\d\s*[a-z]$", bare):
        return None
    bare = re.sub(r"^(?:the|an?)\s+(?=\w{2})", "", re.sub(r"[\s,.;:()']+", " ", bare).strip().casefold())
    return Words(re.sub(r"\b([ap]) m\b", r"\1m", bare))


def alone(answer: Answer) -> Answer:
    """The value that an equation gives to one unknown or to a function of it (x = 5, f(x) = 2x), or that two sides without
    unknowns have; the member of a set or list of one; anything else as it is."""
    if isinstance(answer, Relation) and answer.signs == ("=",) and _names(answer.sides[0]):
        return alone(answer.sides[1])
    if isinstance(answer, Several) and answer.kind in ("set", "list", "union") and len(answer.parts) == 1:
        return alone(answer.parts[0])
    if isinstance(answer, Several) and answer.kind == "set":
        return replace(answer, kind="list")
    return answer


def _names(side: Answer) -> bool:
    if isinstance(side, Words):
        return True
    if not isinstance(side, Value):
        return False
    tree = side.expression
    if isinstance(tree, Symbol) or not symbols(tree):
        return True
    return isinstance(tree, Apply) and tree.operation == "*" and all(isinstance(part, Symbol) for part in tree.arguments)

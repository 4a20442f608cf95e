"""Mathematical expressions, from LaTeX or plain text to a tree: sums, products, powers, roots, functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

FUNCTIONS = frozenset({
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp",
})  # fmt: skip
_DEEPEST = 40
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", r"\{": r"\}"}
_ROUNDING = {r"\lfloor": "floor", r"\lceil": "ceil"}
_TIMES = frozenset({r"\cdot", r"\times", "*"})
_OVER = frozenset({"/", r"\div", ":"})
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+\.\d+(?:[eE][-+]?\d+)?|\.\d+|\d+(?:[eE][-+]?\d+)?\.?(?![\d]))|(?P<name>\\[a-zA-Z]+|(?:{'|'.join(sorted(FUNCTIONS))}"
    r"|sqrt|pi|frac)(?![a-zA-Z]))|(?P<letter>[a-zA-Z])|(?P<sign>\*\*|\\.|[^\s\\]))"
)


class Unreadable(Exception):
    """What stands there is no expression."""


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction


@dataclass(frozen=True, slots=True)
class Symbol:
    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation on its arguments: + * / ^ neg root (degree, radicand) ! binom abs floor ceil deg, or one of FUNCTIONS."""

    operation: str
    arguments: tuple[Expression, ...]


Expression = Number | Symbol | Apply


def parse(text: str) -> Expression:
    """The tree of `text` (cleaned). Raises Unreadable if it is not one expression from end to end."""
    parser = _Parser(tokens(text))
    tree = parser.sum()
    if parser.now:
        raise Unreadable(text)
    return tree


def tokens(text: str) -> list[str]:
    return [token.group().strip() for token in _TOKEN.finditer(text)]


def symbols(tree: Expression) -> frozenset[str]:
    """The unknowns of an expression; pi, i and e are none."""
    if isinstance(tree, Symbol):
        return frozenset() if tree.name in ("pi", "i", "e") else frozenset({tree.name})
    if isinstance(tree, Apply):
        return frozenset[str]().union(*map(symbols, tree.arguments))
    return frozenset()


class _Parser:
    """Recursive descent over tokens; `now` is the one to be read, "" at the end."""

    def __init__(self, found: list[str]) -> None:
        self.tokens, self.at, self.depth = found, 0, 0

    @property
    def now(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.now
        if not token or (expected is not None and token != expected):
            raise Unreadable(token)
        self.at += 1
        return token

    def sum(self) -> Expression:
        terms = [self.product()]
        while self.now in ("+", "-"):
            sign = self.take()
            term = self.product()
            terms.append(Apply("neg", (term,)) if sign == "-" else term)
        return terms[0] if len(terms) == 1 else Apply("+", tuple(terms))

    def product(self) -> Expression:
        left = self.signed()
        while True:
            if self.now in _TIMES:
                self.take()
                left = Apply("*", (left, self.signed()))
            elif self.now in _OVER:
                self.take()
                left = Apply("/", (left, self.signed()))
            elif self.begins():
                left = Apply("*", (left, self.power()))
            else:
                return left

    def begins(self) -> bool:
        """Whether what follows is a factor without a sign of multiplication before it. Two numbers side by side are none."""
        token = self.now
        if re.match(r"\.?\d", token):
            return not re.match(r"\.?\d", self.tokens[self.at - 1])
        return re.match(r"[a-zA-Z({]|\\[a-zA-Z]", token) is not None and token not in (r"\rfloor", r"\rceil", r"\deg")

    def signed(self) -> Expression:
        negative = 0
        while self.now in ("+", "-"):
            negative ^= self.take() == "-"
        tree = self.power()
        return Apply("neg", (tree,)) if negative else tree

    def power(self) -> Expression:
        base = self.atom()
        while self.now in ("!", r"\deg"):
            base = Apply("deg" if self.take() == r"\deg" else "!", (base,))
        if self.now in ("^", "**"):
            self.take()
            base = Apply("^", (base, self.exponent()))
            while self.now in ("!", r"\deg"):
                base = Apply("deg" if self.take() == r"\deg" else "!", (base,))
        return base

    def exponent(self) -> Expression:
        """x^10 is the tenth power, as in plain text, though LaTeX would take the 1 alone."""
        return self.signed() if re.fullmatch(r"[-+(]|\d\d+", self.now) else self.argument()

    def argument(self) -> Expression:
        """What LaTeX takes for the argument of a command: a group, or one sign; of a number its first digit only."""
        token = self.now
        if token == "{":
            return self.group()
        if re.fullmatch(r"\d\d+", token):
            self.tokens[self.at] = token[1:]
            return Number(Fraction(token[0]))
        return self.atom()

    def group(self) -> Expression:
        closing = _CLOSING[self.take()]
        inside = self.sum()
        self.take(closing)
        return inside

    def atom(self) -> Expression:
        """A number, a symbol, a group or a command with its arguments; no deeper than a person writes."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Unreadable("too deep")
        found = self.any_atom()
        self.depth -= 1
        return found

    def any_atom(self) -> Expression:
        token = self.now
        if re.match(r"\.?\d", token):
            return self.number()
        if token in _ROUNDING:
            return Apply(_ROUNDING[token], (self.group(),))
        if token in _CLOSING:
            return self.group()
        if token == "|":
            self.take()
            inside = self.sum()
            self.take("|")
            return Apply("abs", (inside,))
        name = self.take().removeprefix("\\")
        if name in FUNCTIONS:
            return self.function(name)
        if name in ("frac", "binom", "dbinom"):
            return Apply("/" if name == "frac" else "binom", (self.argument(), self.argument()))
        if name in ("sqrt", "overline"):
            return self.root() if name == "sqrt" else self.overlined()
        if not name.isalpha() or name in ("text", "begin", "end", "dots", "deg", "in", "cup", "cap"):
            raise Unreadable(token)
        return self.symbol(name)

    def number(self) -> Expression:
        """A number; 0.1\\overline{6}; a whole number before a fraction of numbers, which is a mixed number."""
        text = self.take()
        if "." in text and self.now == r"\overline":
            self.take()
            again = self.digits()
            decimals = len(text.partition(".")[2])
            return Number(Fraction(text.rstrip(".")) + Fraction(int(again), 10**decimals * (10 ** len(again) - 1)))
        if "e" in text.lower() and abs(int(re.split("[eE]", text)[1].rstrip("."))) > 400:
            raise Unreadable(text)
        value = Fraction(text.rstrip("."))
        if text.isdigit():
            rest = " ".join(self.tokens[self.at : self.at + 8])
            mixed = re.match(
                r"\\?frac (?:\{ (\d+) \}|(\d)(?!\d)) (?:\{ (\d+) \}|(\d)(?!\d))|\\?frac (\d)(\d)(?!\d)|(\d+) / (\d+)(?!\d)", rest
            )
            if mixed is not None:
                over, under = (int(digits) for digits in mixed.groups() if digits is not None)
                if 0 < over < under:
                    self.at += len(mixed.group().split())
                    return Number(value + Fraction(over, under))
        return Number(value)

    def digits(self) -> str:
        self.take("{")
        found = self.take()
        self.take("}")
        if not found.isdecimal():
            raise Unreadable(found)
        return found

    def root(self) -> Expression:
        degree: Expression = Number(Fraction(2))
        if self.now == "[":
            degree = self.group()
        return Apply("root", (degree, self.group() if self.now == "(" else self.argument()))

    def overlined(self) -> Expression:
        """A segment or a conjugate: a symbol of its own."""
        self.take("{")
        name = ""
        while self.now != "}":
            name += self.take()
        self.take("}")
        return Symbol(f"overline {name}")

    def function(self, name: str) -> Expression:
        """sin^2 x, log_2 8, cos 3x y: the argument is a group in brackets, else the factors up to the next function or sign."""
        base: Expression | None = None
        exponent: Expression | None = None
        while self.now in ("^", "_"):
            if self.take() == "^":
                exponent = self.exponent()
            else:
                base = self.argument()
        if self.now == "(":
            argument = self.power()
        else:
            argument = self.signed()
            while self.begins() and self.now.removeprefix("\\") not in FUNCTIONS and self.now != "(":
                argument = Apply("*", (argument, self.power()))
        if name == "log" and base is not None:
            found = Apply("/", (Apply("ln", (argument,)), Apply("ln", (base,))))
        elif isinstance(exponent, Apply) and exponent == Apply("neg", (Number(Fraction(1)),)) and f"arc{name}" in FUNCTIONS:
            return Apply(f"arc{name}", (argument,))
        else:
            found = Apply(name, (argument,))
        return found if exponent is None else Apply("^", (found, exponent))

    def symbol(self, name: str) -> Expression:
        """A letter with its index: x_1 and x_{1} are one."""
        if self.now == "_":
            self.take()
            if self.now == "{":
                self.take()
                index = ""
                while self.now != "}":
                    index += self.take()
                self.take("}")
            else:
                index = self.take()
            return Symbol(f"{name}_{index}")
        primes = ""
        while self.now == "'":
            primes += self.take()
        return Symbol(name + primes)

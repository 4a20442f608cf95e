"""Whether two expressions have the same value: exact fractions where that is possible, else numbers of 60 digits; with unknowns,
at fixed points. Two expressions that agree at several points of no special place are the same (Schwartz 1980, Zippel 1979)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

from mistral7b.evals.maths.syntax import Apply, Expression, Number, Symbol, symbols

_DIGITS = 60
_SAME = Fraction(1, 10**40)  # relative difference of two values that are taken for one
_POINTS = 3  # at which unknowns are above 0, and as many where some are below
_BITS = 60_000  # of an exact power, a factorial
_LARGEST_EXPONENT = 10**7
_LARGEST_ARGUMENT = 10**9  # of a function


class Undefined(Exception):
    """No value, or one too large to compute."""


Point = Mapping[str, Fraction]


def same_value(first: Expression, second: Expression) -> bool:
    """Whether both have a value and it is the same, whatever the unknowns. Positive unknowns decide; where every root and
    logarithm is of a number that is not negative, negative ones too: |x| is not x, but sqrt(x^2 y) is x sqrt(y)."""
    names = sorted(symbols(first) | symbols(second))
    compared = 0
    for number in range(_POINTS * 2 if names else 1):
        below = number >= _POINTS
        point = {name: _place(name, number, below=below) for name in names}
        try:
            values = value(first, point, real=below), value(second, point, real=below)
        except Undefined:
            if below:
                continue
            return False
        if not same_number(*values):
            return False
        compared += 1
    return compared > 0


def proportional(first: Expression, second: Expression) -> bool:
    """Whether one is the other times a constant that is not 0: the left sides of equations that have 0 on the right."""
    names = sorted(symbols(first) | symbols(second))
    if not names:
        return False
    points = [{name: _place(name, number, below=False) for name in names} for number in range(_POINTS + 1)]
    try:
        pairs = [(value(first, point), value(second, point)) for point in points]
    except Undefined:
        return False
    base = pairs[0]
    if any(same_number(side, Fraction(0)) for side in base):
        return False
    return all(same_number(_times(base[0], pair[1]), _times(base[1], pair[0])) for pair in pairs[1:])


def same_number(first: Any, second: Any) -> bool:
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    a, b = _wide(first), _wide(second)
    size = max(abs(a), abs(b), 1)
    return bool(abs(a - b) <= _wide(_SAME) * size)


def value(tree: Expression, point: Point, *, real: bool = False) -> Any:
    """A Fraction, or a number of mpmath. Raises Undefined where there is none: 1/0, 0^0, a power beyond all size; and where
    `real` a root or logarithm of a negative number that depends on an unknown."""
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Symbol):
        if tree.name == "pi":
            return +_mp().pi
        if tree.name == "e":
            return +_mp().e
        return _mp().mpc(0, 1) if tree.name == "i" else point[tree.name]
    if tree.operation in _TURNING and tree.arguments and _in_degrees(tree.arguments[0]):
        arguments = [value(tree.arguments[0], point, real=real) * _mp().pi / 180]
    else:
        arguments = [value(argument, point, real=real) for argument in tree.arguments]
    if real and tree.operation in ("root", "ln", "log", "^") and symbols(tree) and not _may(tree.operation, arguments):
        raise Undefined(tree.operation)
    try:
        return _OPERATIONS[tree.operation](*arguments)
    except (ArithmeticError, ValueError, TypeError, NotImplementedError):
        raise Undefined(tree.operation) from None


def _may(operation: str, arguments: list[Any]) -> bool:
    inside = arguments[1] if operation == "root" else arguments[0]
    if operation == "^" and isinstance(arguments[1], Fraction) and arguments[1].denominator == 1:
        return True
    return not isinstance(inside, _mp().mpc) and inside > 0


def _in_degrees(tree: Expression) -> bool:
    return isinstance(tree, Apply) and (tree.operation == "deg" or any(map(_in_degrees, tree.arguments)))


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        whole = int(exponent)
        if base == 0 and whole <= 0:
            raise Undefined("0^0")
        if isinstance(base, Fraction) and abs(whole) * _size(base) <= _BITS:
            return base**whole
        if abs(whole) > _LARGEST_EXPONENT:
            raise Undefined("a power too large")
        return _wide(base) ** whole
    if isinstance(exponent, Fraction) and exponent.denominator % 2 and not isinstance(base, _mp().mpc) and base < 0:
        return _power(_root(Fraction(exponent.denominator), base), Fraction(exponent.numerator))
    if abs(_wide(exponent)) > _LARGEST_EXPONENT:
        raise Undefined("a power too large")
    return _real(_wide(base) ** _wide(exponent))


def _root(degree: Any, inside: Any) -> Any:
    """The real root where there is one: that of degree 3 of -8 is -2."""
    if isinstance(degree, Fraction) and degree.denominator == 1 and 1 <= degree <= 1000:
        n = int(degree)
        if n % 2 and not isinstance(inside, _mp().mpc) and inside < 0:
            return -_root(degree, -inside)
        if isinstance(inside, Fraction) and inside >= 0:
            exact = [_whole_root(part, n) for part in (inside.numerator, inside.denominator)]
            if exact[0] is not None and exact[1] is not None:
                return Fraction(exact[0], exact[1])
        return _mp().root(_wide(inside), n)
    return _power(inside, _divided(Fraction(1), degree))


def _whole_root(number: int, n: int) -> int | None:
    if number.bit_length() > 160:
        return None
    near = int(_mp().nint(_mp().root(number, n)))
    return near if near**n == number else None


def _exact(first: Any, second: Any) -> bool:
    """Whether both are fractions, and what they make is not too long."""
    return isinstance(first, Fraction) and isinstance(second, Fraction) and _size(first) + _size(second) <= 2 * _BITS


def _size(number: Fraction) -> int:
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def _plus(*terms: Any) -> Any:
    total: Any = Fraction(0)
    for term in terms:
        total = total + term if _exact(total, term) else _wide(total) + _wide(term)
    return total


def _times(first: Any, second: Any) -> Any:
    return first * second if _exact(first, second) else _wide(first) * _wide(second)


def _divided(over: Any, under: Any) -> Any:
    return over / under if _exact(over, under) else _wide(over) / _wide(under)


def _factorial(n: Any) -> Any:
    if not isinstance(n, Fraction) or n.denominator != 1 or not 0 <= n <= 5000:
        raise Undefined("a factorial")
    return Fraction(int(_exact_factorial(int(n))))


@cache
def _exact_factorial(n: int) -> int:
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product


def _binomial(n: Any, k: Any) -> Any:
    return _divided(_factorial(n), _times(_factorial(k), _factorial(n - k)))


def _wide(number: Any) -> Any:
    """As a number of mpmath."""
    return _mp().mpf(number.numerator) / number.denominator if isinstance(number, Fraction) else number


def _real(number: Any) -> Any:
    return number.real if isinstance(number, _mp().mpc) and number.imag == 0 else number


def _mpmath(name: str) -> Callable[[Any], Any]:
    def apply(argument: Any) -> Any:
        if abs(_wide(argument)) > _LARGEST_ARGUMENT:
            raise Undefined(name)
        return _real(getattr(_mp(), name)(_wide(argument)))

    return apply


def _place(name: str, number: int, *, below: bool) -> Fraction:
    """A value for an unknown: between 1 and 3, or, in points with negative ones, of a sign of its own."""
    drawn = int.from_bytes(hashlib.sha256(f"{name} {number}".encode()).digest()[:8], "big")
    size = 1 + Fraction(drawn % 1_999_993, 1_000_003)
    return -size if below and (drawn >> 40) % 3 else size


@cache
def _mp() -> Any:
    """A context of mpmath of our own, so that nobody else's precision changes."""
    import mpmath

    context = mpmath.MPContext()
    context.dps = _DIGITS
    return context


_TURNING = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": _plus, "*": _times, "/": _divided, "^": _power, "root": _root, "!": _factorial, "binom": _binomial,
    "neg": lambda number: -number, "abs": abs, "deg": lambda number: number,
    "floor": _mpmath("floor"), "ceil": _mpmath("ceil"), "log": _mpmath("log10"), "exp": _mpmath("exp"), "ln": _mpmath("ln"),
    "arcsin": _mpmath("asin"), "arccos": _mpmath("acos"), "arctan": _mpmath("atan"),
    **{name: _mpmath(name) for name in ("sinh", "cosh", "tanh", *sorted(_TURNING))},
}  # fmt: skip

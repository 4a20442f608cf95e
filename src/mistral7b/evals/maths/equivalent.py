"""When two answers to a MATH problem are the same."""

from __future__ import annotations

import re

from mistral7b.evals.maths.reading import Answer, Based, Relation, Several, Value, Words, alone, readings
from mistral7b.evals.maths.syntax import Apply
from mistral7b.evals.maths.value import proportional, same_value

_LETTER = re.compile(r"[ $]*[a-zA-Z][ $.]*")


def equivalent(first: str | None, second: str | None) -> bool:
    """Whether two answers, as `extract` gives them, say the same; None equals nothing. Symmetric.

    Values are compared as values: 1/2, \\frac12, 0.5 and \\frac{2}{4} are one, (x-1)(x+1) is x^2-1, but 0.33 is not 1/3. Units,
    degrees, money and percent signs are not looked at: 50\\% is 50. Tuples, intervals, ratios and matrices have an order, lists
    and sets have none, and a list is a set; 1 \\pm \\sqrt2 is a list of two. x = 5 is 5, -2 < x \\le 7 is (-2, 7]; equations are
    the same if one is a multiple of the other. A number in a base needs the same digits and base. Words are compared without
    case and punctuation, and so are two runs of three letters or more, or two with a capital: HHT is not THH, though a product
    of letters (2ab) has no order. Of two single letters the case counts.
    """
    if first is None or second is None:
        return False
    if first.strip() and first.strip() == second.strip():
        return True
    if _LETTER.fullmatch(first) and _LETTER.fullmatch(second):
        return first.strip(" $.") == second.strip(" $.")
    theirs = readings(second)
    return any(same(one, other) for one in readings(first) for other in theirs)


def same(first: Answer, second: Answer) -> bool:
    if isinstance(first, Relation) and isinstance(second, Relation):
        return _same_relation(first, second)
    first, second = alone(first), alone(second)
    match first, second:
        case Words(), Words():
            return first == second
        case Value(), Value():
            if first.name and second.name:
                return first.name == second.name
            return first == second or same_value(first.expression, second.expression)
        case Based(), Based():
            return first == second
        case Several(), Several():
            if first.kind != second.kind or len(first.parts) != len(second.parts):
                return False
            if first.ordered:
                return all(map(same, first.parts, second.parts))
            return _same_bag(first.parts, second.parts)
        case _:
            return False


def _same_bag(first: tuple[Answer, ...], second: tuple[Answer, ...]) -> bool:
    """Each of the first has a partner of its own in the second."""
    left = list(second)
    for one in first:
        partner = next((number for number, other in enumerate(left) if same(one, other)), None)
        if partner is None:
            return False
        del left[partner]
    return True


def _same_relation(first: Relation, second: Relation) -> bool:
    if first.signs != second.signs:
        return False
    if all(map(same, first.sides, second.sides)):
        return True
    if first.signs != ("=",):
        return False
    differences = [_difference(relation) for relation in (first, second)]
    return None not in differences and proportional(*[tree for tree in differences if tree is not None])


def _difference(relation: Relation) -> Apply | None:
    """The left side less the right."""
    left, right = relation.sides
    if not isinstance(left, Value) or not isinstance(right, Value):
        return None
    return Apply("+", (left.expression, Apply("neg", (right.expression,))))

"""What most of several answers say: maj@k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer of the largest class, by its first member; how many gave it, how many of `of` outputs gave any at all."""

    answer: str
    votes: int
    given: int
    of: int


def majority(answers: Sequence[str | None], same: Callable[[str, str], bool] = str.__eq__) -> Vote | None:
    """The class of equal answers with most members; None if there is no answer.

    An answer joins the first class whose first member it is the `same` as. None, an output without an answer, does not vote.
    Of classes of one size that wins whose first member came first: with answers 3, 7, 7, 3 it is 3.
    """
    classes: list[list[str]] = []
    for answer in answers:
        if answer is None:
            continue
        for members in classes:
            if same(members[0], answer):
                members.append(answer)
                break
        else:
            classes.append([answer])
    if not classes:
        return None
    largest = max(classes, key=len)  # the first of several
    return Vote(largest[0], len(largest), sum(map(len, classes)), len(answers))

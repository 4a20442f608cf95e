"""The vote: most win, ties go to the class whose first member came first, and nothing else depends on the order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.maths.equivalent import equivalent
from mistral7b.evals.maths.vote import Vote, majority

ANSWERS = st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=10)


@pytest.mark.parametrize(
    ("answers", "vote"),
    [(["3", "7", "7", "3"], Vote("3", 2, 4, 4)), (["7", "3", "3", "7"], Vote("7", 2, 4, 4)),
     ([None, "5", None], Vote("5", 1, 1, 3)),
     (["1", "2", "2"], Vote("2", 2, 3, 3)), ([None, None], None), ([], None)],
)  # fmt: skip
def test_by_hand(answers: list[str | None], vote: Vote | None) -> None:
    assert majority(answers) == vote


def test_equal_answers_are_one_class() -> None:
    assert majority(["2", r"\frac12", "0.5", "2.0", "1/2"], equivalent) == Vote(r"\frac12", 3, 5, 5)


@given(ANSWERS)
def test_the_rule(answers: list[str | None]) -> None:
    vote, given = majority(answers), [answer for answer in answers if answer is not None]
    if vote is None:
        assert not given
        return
    counts = Counter(given)
    assert vote.votes == counts[vote.answer] == max(counts.values())
    assert vote.answer == next(answer for answer in given if counts[answer] == vote.votes)
    assert (vote.given, vote.of) == (len(given), len(answers))


@given(ANSWERS.flatmap(lambda answers: st.tuples(st.just(answers), st.permutations(answers))))
def test_the_order_only_breaks_ties(case: tuple[list[str | None], list[str | None]]) -> None:
    first, second = map(majority, case)
    sizes = Counter(answer for answer in case[0] if answer is not None).most_common(2)
    if len(sizes) == 1 or (sizes and sizes[0][1] > sizes[1][1]):
        assert first == second
    else:
        assert (first is None) == (second is None)
        assert first is None or second is None or first.votes == second.votes

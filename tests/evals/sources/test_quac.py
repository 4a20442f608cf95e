"""QuAC's scores, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.sources.quac import agreement, answerable, f1

NONE = "CANNOTANSWER"


@pytest.mark.parametrize(
    ("references", "kept"),
    [
        ([NONE], [NONE]),
        ([NONE, "a"], [NONE]),
        ([NONE, "a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        ([NONE, NONE, "a"], [NONE]),
    ],
)
def test_at_least_half_decide_that_there_is_no_answer(references: list[str], kept: list[str]) -> None:
    assert answerable(references) == kept


@pytest.mark.parametrize(
    ("answer", "references", "score"),
    [
        ("In Ghent.", ["in the ghent"], 1.0),  # case, punctuation and articles do not count
        ("red cat", ["the red dog"], 0.5),  # one word of two, of two
        ("red red cat", ["red"], 0.5),  # a word counts as often as both have it
        ("red", ["blue"], 0.0),
        ("", ["blue"], 0.0),
        # against {b}, {a}: 0 and 1
        ("in ghent", ["in ghent", "1890"], 0.5),
        # the best of each two of three: 1, 1, and 2/3 without the exact one
        ("in ghent", ["in ghent", "ghent", "1890"], (1 + 1 + 2 / 3) / 3),
        (NONE, [NONE], 1.0),
        ("CANNOTANSWER today", [NONE], 0.0),
        (NONE, ["blue"], 0.0),
    ],
)
def test_f1_against_all_references_but_one(answer: str, references: list[str], score: float) -> None:
    assert f1(answer, references) == pytest.approx(score)


def test_agreement_is_each_reference_against_the_best_of_the_others() -> None:
    assert agreement(["only"]) == 1
    assert agreement(["red cat", "red dog"]) == pytest.approx(0.5)
    assert agreement(["red cat", "red dog", "cat"]) == pytest.approx((2 / 3 + 0.5 + 2 / 3) / 3)


texts = st.lists(st.sampled_from(["ghent", "the", "Red,", "cat", "1890"]), max_size=4).map(" ".join)


@given(texts, st.lists(texts, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_f1_is_a_share_and_the_order_of_references_does_not_count(answer: str, references: list[str], random: object) -> None:
    score = f1(answer, references)
    assert 0 <= score <= 1
    random.shuffle(references)  # type: ignore[attr-defined]
    assert f1(answer, references) == pytest.approx(score)

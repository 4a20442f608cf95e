"""Bradley-Terry: closed forms, a maximum nothing nearby exceeds, and intervals that cover."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.arena.scores import Vote, read_votes, scores, standings


def test_two_models_have_a_closed_form() -> None:
    """3 wins of 4: strengths 3 to 1."""
    found = scores(np.array([[0.0, 3.0], [1.0, 0.0]]))
    assert found[0] - found[1] == pytest.approx(400 * math.log10(3))
    assert found.mean() == pytest.approx(1000)


def likelihood(wins: np.ndarray, found: np.ndarray) -> float:
    strengths = 10 ** (found / 400)
    return float((wins * np.log(strengths[:, None] / (strengths[:, None] + strengths[None, :]))).sum())


@settings(max_examples=25)
@given(st.integers(2, 5), st.randoms(use_true_random=False))
def test_the_scores_are_the_likeliest(n: int, draw: object) -> None:
    random = np.random.default_rng(draw.randrange(2**32))  # type: ignore[attr-defined]
    wins = random.integers(0, 9, (n, n)).astype(float) + 0.5
    np.fill_diagonal(wins, 0)
    found = scores(wins)
    best = likelihood(wins, found)
    # At the maximum everyone wins as often as expected.
    expected = (wins + wins.T) / (1 + 10 ** ((found[None, :] - found[:, None]) / 400))
    np.fill_diagonal(expected, 0)
    assert expected.sum(1) == pytest.approx(wins.sum(1), abs=1e-6)
    for _ in range(5):
        assert likelihood(wins, found + random.normal(0, 20, n)) <= best
    stacked = scores(np.stack([wins, wins.T]))
    assert stacked[0] == pytest.approx(found, abs=1e-6)


def test_ties_and_both_bad_are_half_a_win() -> None:
    ties = standings([Vote("a", "b", "left")] * 3 + [Vote("a", "b", "tie"), Vote("b", "a", "both bad")])
    halves = standings([Vote("a", "b", "left")] * 4 + [Vote("a", "b", "right")])
    assert [one.score for one in ties] == pytest.approx([one.score for one in halves])
    # 4 of 5, and a tie more for each pair that met: 4.5 to 1.5.
    assert ties[0].score - ties[1].score == pytest.approx(400 * math.log10(3))
    a = ties[0]
    assert (a.model, a.battles, a.wins, a.losses, a.ties, a.both_bad, a.won) == ("a", 5, 3, 0, 1, 1, 0.8)
    assert (ties[1].wins, ties[1].losses) == (0, 3)


def test_who_never_lost_has_a_finite_score() -> None:
    first, second = standings([Vote("a", "b", "left")] * 10)
    assert first.score - second.score == pytest.approx(400 * math.log10(10.5 / 0.5))
    assert (first.low, first.high) == (first.score, first.score), "ten like votes leave a bootstrap nothing to vary"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from(["left", "right", "tie"])), min_size=3))
@settings(max_examples=25)
def test_sides_and_order_do_not_matter(drawn: list[tuple[str, str, str]]) -> None:
    votes = [Vote(*each) for each in drawn if each[0] != each[1]]
    votes += [Vote("a", "b", "tie"), Vote("b", "c", "tie")]
    other = {"left": "right", "right": "left", "tie": "tie"}
    swapped = [Vote(vote.right, vote.left, other[vote.vote]) for vote in reversed(votes)]
    for one, two in zip(standings(votes, resamples=20), standings(swapped, resamples=20), strict=True):
        assert (one.model, one.battles, one.wins) == (two.model, two.battles, two.wins) or one.score == pytest.approx(two.score)
        assert (one.score, one.low, one.high) == pytest.approx((two.score, two.low, two.high), abs=1e-6)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of 200 worlds in which a wins two of three, an interval of 95 % misses the true distance in about ten."""
    random, truth, covered = np.random.default_rng(3), 400 * math.log10(2), 0
    for world in range(200):
        wins = int(random.binomial(200, 2 / 3))
        found = {
            one.model: one
            for one in standings(
                [Vote("a", "b", "left")] * wins + [Vote("a", "b", "right")] * (200 - wins), resamples=400, seed=world
            )
        }
        a = found["a"]
        covered += a.low <= 1000 + truth / 2 <= a.high
    assert 175 <= covered <= 199


def test_models_that_never_met() -> None:
    with pytest.raises(DataError, match="c never met a, nor anyone who did"):
        standings([Vote("a", "b", "left"), Vote("c", "d", "left")])
    chain = standings([Vote("a", "b", "left"), Vote("b", "c", "left")])
    assert [one.model for one in chain] == ["a", "b", "c"]


def test_reading_votes(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps({"left": "a", "right": "b", "vote": "tie", "turns": []}) + "\n")
    assert read_votes(path) == [Vote("a", "b", "tie")]
    for bad in ({"left": "a", "right": "a", "vote": "tie"}, {"left": "a", "right": "b", "vote": "a"}, {"vote": "tie"}):
        path.write_text("\n" + json.dumps(bad))
        with pytest.raises(DataError, match=r"votes\.jsonl, line 2: a vote needs"):
            read_votes(path)
    path.write_text("")
    with pytest.raises(DataError, match="holds no vote"):
        read_votes(path)

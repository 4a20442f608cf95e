"""Intervals: the known figures of Wilson's, the bootstrap against the normal law, and what both keep for any values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.evals.intervals import bootstrap, interval, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # scipy.stats.binomtest(right, n).proportion_ci(method="wilson"), four digits
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_wilson_has_the_known_figures(right: int, n: int, low: float, high: float) -> None:
    found = wilson(right, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_score_and_mirrors(case: tuple[int, int]) -> None:
    right, n = case
    found, mirrored = wilson(right, n), wilson(n - right, n)
    assert 0 <= found.low <= right / n <= found.high <= 1
    assert found.low < found.high
    assert found.low == pytest.approx(1 - mirrored.high)


def test_the_bootstrap_of_a_mean_is_the_normal_laws() -> None:
    values = np.random.default_rng(5).random(400).tolist()
    found = bootstrap(values, seed=1)
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values))
    assert found.low == pytest.approx(np.mean(values) - half, abs=0.2 * half)
    assert found.high == pytest.approx(np.mean(values) + half, abs=0.2 * half)
    assert bootstrap(values, seed=1) == found
    assert bootstrap(values, seed=2) != found


def test_drawn_in_pieces_or_at_once_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    whole = bootstrap(values)
    monkeypatch.setattr("mistral7b.evals.intervals._DRAWN_AT_ONCE", 64)
    assert bootstrap(values) == whole


def test_any_aggregate_can_be_the_score() -> None:
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    found, means = bootstrap(values, lambda drawn: 1 + float(np.mean(drawn)), seed=4), bootstrap(values, seed=4)
    assert found.low == pytest.approx(1 + means.low, abs=0.05)
    assert found.high == pytest.approx(1 + means.high, abs=0.05)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 9))
def test_the_bootstrap_stays_within_the_values(values: list[float], seed: int) -> None:
    found = bootstrap(values, seed=seed)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_which_interval_is_made() -> None:
    assert interval([1.0, 0.0, True]) == wilson(2, 3)
    assert interval([0.5, 1.0], seed=3) == bootstrap([0.5, 1.0], seed=3)
    assert interval([0.5]) is None
    assert interval([]) is None
    assert interval([1, 0, 1, 1], max) == bootstrap([1, 0, 1, 1], max)

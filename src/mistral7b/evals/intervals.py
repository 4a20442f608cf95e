"""How far a measured score can be trusted: 95% intervals over the items it was measured on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Z = 1.959963984540054  # the 97.5% point of the normal distribution
RESAMPLES = 1000
_DRAWN_AT_ONCE = 1 << 22  # indices held in memory


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` to `high`, made by `method`."""

    low: float
    high: float
    method: Literal["wilson", "bootstrap"]


def interval(values: Sequence[Any], aggregate: Callable[[Sequence[Any]], float] | None = None, seed: int = 0) -> Interval | None:
    """The 95% interval of the score that `values`, one an item, make: Wilson's where each is right or wrong (0 or 1), else
    the bootstrap's. `aggregate` makes the score of the values; without one it is their mean. None where one item says
    nothing about the others."""
    if aggregate is None and all(value in (0, 1) for value in values):
        return wilson(int(sum(values)), len(values)) if values else None
    return bootstrap(values, aggregate, seed) if len(values) > 1 else None


def wilson(right: int, n: int) -> Interval:
    """Wilson's score interval (1927) of `right` out of `n`: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Unlike the normal one it stays within [0, 1] and has a width at 0 and at n right: 0 of 10 is [0, 0.278]."""
    p, spread = right / n, Z * Z / n
    middle = p + spread / 2
    half = Z * math.sqrt(p * (1 - p) / n + spread / (4 * n))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return Interval(0.0 if right == 0 else low, 1.0 if right == n else high, "wilson")


def bootstrap(values: Sequence[Any], aggregate: Callable[[Sequence[Any]], float] | None = None, seed: int = 0) -> Interval:
    """The percentile bootstrap (Efron 1979): the middle 95% of the scores of RESAMPLES sets of items drawn with replacement.
    The same values and seed give the same interval."""
    draw = np.random.default_rng(seed)
    n = len(values)
    if aggregate is not None:
        scores = [aggregate([values[i] for i in draw.integers(0, n, n)]) for _ in range(RESAMPLES)]
    else:
        numbers = np.asarray(values, dtype=np.float64)
        rows = max(1, _DRAWN_AT_ONCE // n)
        sizes = [min(rows, RESAMPLES - begin) for begin in range(0, RESAMPLES, rows)]
        scores = [float(mean) for size in sizes for mean in numbers[draw.integers(0, n, (size, n))].mean(axis=1)]
    low, high = np.quantile(scores, (0.025, 0.975))
    return Interval(float(low), float(high), "bootstrap")

"""What a load test found: speeds, delays at percentiles, concurrency over time; and one server's figures over another's."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from serve_client import Result

Spread = dict[str, float]
PERCENTILES = (50, 95, 99)
DELAYS = ("time to first token", "time per output token", "between chunks", "end to end")
SPEEDS = ("requests", "prompt tokens", "output tokens")
# What is compared, block by block; without p99, which in one block is often a single request.
COMPARED = (*SPEEDS, *(f"{delay}, p{percent}" for delay in DELAYS for percent in (50, 95)))


@dataclass(frozen=True)
class Block:
    """The results of one block of requests to one server."""

    results: Sequence[Result]

    @property
    def done(self) -> list[Result]:
        """Those that came to their proper end: all figures are of these."""
        return [result for result in self.results if result.ok]

    @property
    def seconds(self) -> float:
        """From the first request's moment to the end of the last."""
        return max(result.end for result in self.results) - min(result.due for result in self.results)

    @property
    def per_second(self) -> dict[str, float | None]:
        """Speeds; of prompt tokens None where the server did not count some."""
        done, seconds = self.done, self.seconds
        prompts = _sum_or_none([result.prompt_tokens for result in done])
        return {
            "requests": len(done) / seconds,
            "prompt tokens": None if prompts is None else prompts / seconds,
            "output tokens": sum(result.tokens for result in done) / seconds,
        }

    def figures(self) -> dict[str, float | None]:
        """One number for each of COMPARED; None where there is nothing to measure."""
        found = self.per_second
        for delay, values in delays(self.done).items():
            for percent in (50, 95):
                found[f"{delay}, p{percent}"] = percentile(values, percent) if values else None
        return found

    def in_flight(self, points: int = 40) -> list[tuple[float, float]]:
        """(seconds since the start, requests in flight on average until the next point), `points` of them."""
        start, width = min(result.due for result in self.results), self.seconds / points
        edges = [start + width * point for point in range(points)]
        return [
            (edge - start, sum(max(0.0, min(r.end, edge + width) - max(r.due, edge)) for r in self.results) / width)
            for edge in edges
        ]


def delays(done: Iterable[Result]) -> dict[str, list[float]]:
    """Seconds by the names of DELAYS, over all of `done` that have them."""
    done = list(done)
    firsts, tokens = (result.first_token for result in done), (result.per_token for result in done)
    values = (_known(firsts), _known(tokens), [gap for result in done for gap in result.gaps], [r.latency for r in done])
    return dict(zip(DELAYS, values, strict=True))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest ranks: of 1, 2, 3 and 4 the 50th is 2.5."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Sequence[float]) -> Spread:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summary(blocks: Sequence[Block]) -> dict[str, Any]:
    """Speeds are spreads over blocks, delays percentiles over the requests of all blocks."""
    results = [result for each in blocks for result in each.results]
    done = [result for result in results if result.ok]
    speeds = [each.per_second for each in blocks]
    flights = [[count for _, count in each.in_flight()] for each in blocks]
    return {
        "ok": len(done),
        "failed": dict(Counter(result.status for result in results if not result.ok)),
        "failures": failures(results)[:5],
        "tokens_counted_from": dict(Counter("chunks" if r.output_tokens is None else "usage" for r in done)),
        "prompt_tokens": _sum_or_none([result.prompt_tokens for result in done]),
        "output_tokens": sum(result.tokens for result in done),
        "per_second": {name: _spread_or_none([each[name] for each in speeds]) for name in SPEEDS},
        "seconds": {name: distribution(values) for name, values in delays(done).items()},
        "in_flight": {
            "mean": statistics.fmean(count for flight in flights for count in flight),
            "most": max(count for flight in flights for count in flight),
            "over_time": [each.in_flight() for each in blocks],
        },
    }


def failures(results: Iterable[Result]) -> list[str]:
    """What the failed ones say, each once, a line each."""
    return list(dict.fromkeys(f"{result.status}: {result.detail}" for result in results if not result.ok))


def distribution(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": statistics.fmean(values)} | {f"p{percent}": percentile(values, percent) for percent in PERCENTILES}


def ratios(ours: Sequence[Block], theirs: Sequence[Block]) -> dict[str, Spread | None]:
    """Our figure over theirs, block by block of the same repeat; more is better for a speed, less for a delay."""
    pairs = [(mine.figures(), other.figures()) for mine, other in zip(ours, theirs, strict=True)]
    return {name: _spread_or_none([_ratio(mine[name], other[name]) for mine, other in pairs]) for name in COMPARED}


def _sum_or_none(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _ratio(mine: float | None, other: float | None) -> float | None:
    return mine / other if mine is not None and other else None


def _spread_or_none(values: Sequence[float | None]) -> Spread | None:
    known = _known(values)
    return spread(known) if len(known) == len(values) else None

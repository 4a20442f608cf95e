"""From runs to figures: medians with their spread, ratios within one round, and what of the machine's ceilings was reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Spread = dict[str, float]
Rounds = dict[int, float]  # by round
_MARGINAL = 2048  # tokens over which the cost of a prompt token is taken
_FAR, _NEAR = 16_384, 6_144


def report(record: Mapping[str, Any], first: str, figures: Sequence[str]) -> dict[str, Any]:
    """Absolute spreads by figure and system; `first` over each other system; shares and ratios inside one system.

    `record` is the JSON of a run: settings, systems, runs. Every ratio is taken within a round, then its median.
    """
    table = _Table(record["runs"])
    peers = [system for system in table.systems if system not in (first, "machine")]
    return {
        "first": first,
        "figures": {name: {system: table.cell(system, name) for system in table.systems} for name in table.figures},
        "ratios": {
            name: {peer: spread(over(table.rounds(first, name), table.rounds(peer, name))) for peer in peers} for name in figures
        },
        "derived": {system: _derived(table, system, record) for system in (first, *peers)},
    }


def spread(values: Iterable[float]) -> Spread | None:
    """Median, least, most and how many; None of nothing."""
    found = list(values)
    if not found:
        return None
    return {"median": statistics.median(found), "least": min(found), "most": max(found), "rounds": len(found)}


def over(above: Rounds, below: Rounds, factor: float = 1.0) -> list[float]:
    """`factor` x above / below in each round that has both."""
    return [factor * above[number] / below[number] for number in above if number in below]


class _Table:
    """Runs by system and figure."""

    def __init__(self, runs: Sequence[Mapping[str, Any]]) -> None:
        self.runs = runs
        self.systems = list(dict.fromkeys(run["system"] for run in runs))
        self.figures = list(dict.fromkeys(run["figure"] for run in runs))

    def rounds(self, system: str, figure: str) -> Rounds:
        return {run["round"]: run["value"] for run in self._of(system, figure) if "value" in run}

    def cell(self, system: str, figure: str) -> Spread | dict[str, str] | None:
        """The spread; or {"skipped": why}; or None where nothing was asked."""
        skipped = next((run["skipped"] for run in self._of(system, figure) if "skipped" in run), None)
        return spread(self.rounds(system, figure).values()) or ({"skipped": skipped} if skipped else None)

    def marks(self, system: str, figure: str) -> dict[int, dict[int, float]]:
        """By round: seconds after so many tokens of a prompt."""
        return {run["round"]: dict(run["marks"]) for run in self._of(system, figure) if "marks" in run}

    def _of(self, system: str, figure: str) -> list[Mapping[str, Any]]:
        return [run for run in self.runs if run["system"] == system and run["figure"] == figure]


def _derived(table: _Table, system: str, record: Mapping[str, Any]) -> dict[str, Spread | None]:
    """Of one system: shares of the machine's ceilings, what depth and company cost, and whether a prompt token's cost is flat."""
    decode = table.rounds(system, "decode-0")
    read_gb = record["systems"].get(system, {}).get("read_bytes", 0) / 1e9
    giga_ops = record["settings"]["operations_per_token"] / 1e9
    found = {"decode-0 of read bandwidth": over(decode, table.rounds("machine", "read"), read_gb)}
    for name in table.figures:
        kind, _, size = name.partition("-")
        rounds = table.rounds(system, name)
        match kind:
            case "prefill":
                found[f"{name} of int8 rate"] = over(rounds, table.rounds("machine", "int8"), giga_ops)
            case "decode" if size != "0":
                found[f"{name} over decode-0"] = over(rounds, decode)
            case "batch" if size != "1":
                found[f"{name} over batch-1"] = over(rounds, table.rounds(system, "batch-1"))
            case "rows":
                found[f"a forward of {size} rows over one of 1"] = over(decode, rounds, float(size))
    marginal = (_marginal(marks) for marks in table.marks(system, f"prefill-{_FAR}").values())
    found[f"a prompt token at {_FAR} over one at {_NEAR}"] = [each for each in marginal if each is not None]
    return {name: spread(values) for name, values in found.items() if values}


def _marginal(marks: Mapping[int, float]) -> float | None:
    """The last tokens before _FAR over as many before _NEAR, in seconds; None if the chunks end elsewhere."""
    ends = (_FAR, _FAR - _MARGINAL, _NEAR, _NEAR - _MARGINAL)
    if any(end not in marks for end in ends):
        return None
    far, before_far, near, before_near = (marks[end] for end in ends)
    return (far - before_far) / (near - before_near)

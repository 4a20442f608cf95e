"""`eval list`: which benchmarks there are."""

from __future__ import annotations

from dataclasses import asdict

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, table

EXAMPLES = examples("mistral7b eval list", "mistral7b eval list --json")


def list_benchmarks(as_json: options.Json = False) -> None:
    """List benchmarks and presets: shots, metric, data."""
    from mistral7b.evals.benchmarks import BENCHMARKS, PRESETS

    if as_json:
        emit({"benchmarks": [asdict(each) for each in BENCHMARKS], "presets": PRESETS})
        return
    rows = [[(name, "dim") for name in ("benchmark", "shots", "metric", "data", "presets", "how an item is asked")]]
    for each in BENCHMARKS:
        cells = (str(each.shots), each.metric, f"{each.family}/", ", ".join(each.presets), each.protocol)
        rows.append([(each.name, "bold"), *((cell, "") for cell in cells)])
    table(rows)
    print()
    table([[(name, "bold"), (about, "")] for name, about in PRESETS.items()])

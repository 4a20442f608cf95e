"""`eval list`: which benchmarks there are."""

from __future__ import annotations

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, table

EXAMPLES = examples("mistral7b eval list", "mistral7b eval list --json")


def list_benchmarks(as_json: options.Json = False) -> None:
    """List the benchmarks and presets there are, with shots, metric and the data each needs."""

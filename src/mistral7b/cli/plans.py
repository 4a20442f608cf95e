"""Options of a run that is only planned, and the plan on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli.terminal import emit, note, table
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.train.plan import Plan

_PANEL = "Plan"

Wanted = Annotated[
    bool, typer.Option("--plan", help="Train nothing: say what it takes on --world-size devices.", rich_help_panel=_PANEL)
]
WorldSize = Annotated[
    int | None, typer.Option("--world-size", metavar="N", min=1, help="Devices to plan for.", rich_help_panel=_PANEL)
]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="h100, h200, a100 or cpu.", rich_help_panel=_PANEL)]
Mfu = Annotated[float, typer.Option("--mfu", min=0.01, max=1.0, help="Share of the peak to reckon with.", rich_help_panel=_PANEL)]
Tokens = Annotated[
    str | None, typer.Option("--tokens", metavar="N", help="Tokens, as 2e12; else those of the data.", rich_help_panel=_PANEL)
]


def no_plan(world_size: int | None, device: str | None, tokens: str | None) -> None:
    """Raises RequestError for options that are only a plan's."""
    if world_size is not None or device is not None or tokens is not None:
        raise RequestError("--world-size, --device and --tokens are for --plan; processes are started with torchrun")


def count(text: str | None) -> int | None:
    """A number of tokens, "2e12" or "2000000000000". Raises RequestError for anything else."""
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 1 <= found < 1e18:
        raise RequestError(f"--tokens {text} is no number of tokens; write it as 2e12 or 40000000")
    return int(found)


def tell_plan(made: Plan, as_json: bool) -> None:
    """The plan, for a script or for people."""
    if as_json:
        emit(made.to_json())
        return
    table([[(name, "bold"), (value, "")] for name, value in made.rows()])
    for line in made.notes:
        note(line)

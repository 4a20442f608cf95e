"""A training run on the terminal: a bar, samples as they come, and how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral7b.cli.terminal import emit, note, printable, tell
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.train.run import Outcome


Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's YAML file.")]
Until = Annotated[
    int | None, typer.Option("--until", metavar="STEP", min=1, help="Save and end after this step; the same command goes on.")
]


def follow(verb: str, run: Callable[[Screen], Outcome], *, as_json: bool, folder: str) -> None:
    """Runs, tells how it ended, on the first rank; `folder` is the key of what it made."""
    # Before `run` imports torch: when a rank is lost, its C++ prints stack traces beside the line that names the rank.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with Screen(as_json) as screen:
            outcome = run(screen)
    except ModuleNotFoundError as error:
        raise RequestError(f"{verb} needs the package {error.name}; pip install 'mistral7b[train]'") from None
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        made = None if outcome.model is None else str(outcome.model)
        emit({"step": outcome.step, "steps": outcome.steps, folder: made})
    elif outcome.model is None:
        tell(f"stopped at step {outcome.step:,} of {outcome.steps:,}; the same command goes on")
    else:
        print(outcome.model)


class Screen:
    """Progress for whoever looks on: a live bar on a terminal, a line now and then elsewhere; samples as they come."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._bar: Any = None
        self._mean: float | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, line: str) -> None:
        note(line)

    def step(self, line: dict[str, Any], steps: int) -> None:
        self._mean = line["loss"] if self._mean is None else 0.95 * self._mean + 0.05 * line["loss"]
        text = f"loss {self._mean:.3f}  rate {line['rate']:.2e}  norm {line['norm']:.2f}  {line['tokens_s']:,.0f} tok/s"
        text += f"  MFU {line['mfu']:.0%}" if "mfu" in line else ""
        if line.get("skipped"):
            note(f"step {line['step']:,}: a spike of the gradient norm, {line['norm']:.1f}; skipped")
        if self._live:
            self._show(line["step"], steps, text)
        elif not self._quiet and (line["step"] % 20 == 0 or line["step"] in (1, steps)):
            tell(f"{line['step']:,}/{steps:,}  {text}")

    def evaluation(self, step: int, title: str, figures: dict[str, float], samples: dict[str, str]) -> None:
        if self._quiet:
            return
        if figures:
            tell(f"step {step:,}, {title}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        for prompt, text in samples.items():
            tell(printable(f"  {prompt}|{text}".replace("\n", " / ")))

    def _show(self, step: int, steps: int, text: str) -> None:
        from rich import progress as rich
        from rich.console import Console

        if self._bar is None:
            columns = (rich.BarColumn(20), rich.MofNCompleteColumn(), "{task.description}", rich.TimeRemainingColumn())
            self._bar = rich.Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(text, total=steps, completed=step)
        self._bar.update(self._task, completed=step, description=text)

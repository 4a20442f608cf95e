"""`pretrain`: a run from its recipe, or what it would take on other machines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mistral7b.cli import options, plans
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, note, printable, tell
from mistral7b.errors import RequestError

EXAMPLES = examples(
    "mistral7b pretrain recipes/tiny/pretrain.yaml --set RUN=runs/tiny --set SHARDS=runs/tiny/shards",
    "torchrun --nproc-per-node 8 -m mistral7b pretrain recipes/7b-pretrain.yaml --set RUN=runs/7b --set SHARDS=shards",
    "mistral7b pretrain --plan recipes/7b-pretrain.yaml --set RUN=runs/7b --set SHARDS=shards --world-size 64 "
    "--device h100 --tokens 2e12",
)


def pretrain(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's YAML file.")],
    variables: options.Variables = None,
    until: Annotated[
        int | None, typer.Option("--until", metavar="STEP", min=1, help="Save and end after this step; the same command goes on.")
    ] = None,
    plan: plans.Wanted = False,
    world_size: plans.WorldSize = None,
    device: plans.Device = None,
    mfu: plans.Mfu = 0.4,
    tokens: plans.Tokens = None,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Train a model from token shards, by a recipe.

    One process, or as many as torchrun starts. A run that was stopped or killed goes on where its last checkpoint was;
    Ctrl-C and SIGTERM save first. In the run's folder: metrics.jsonl, loss.png, TensorBoard events, and at the end model/.
    """
    from mistral7b.recipe import read_recipe, settings
    from mistral7b.train.recipe import Pretrain

    found = read_recipe(recipe, Pretrain, settings(variables or []))
    if plan:
        from mistral7b.train.plan import make_plan

        plans.tell_plan(make_plan(found, world_size or 1, device or "h100", mfu, tokens=plans.count(tokens)), as_json)
        return
    plans.no_plan(world_size, device, tokens)
    # Before torch is there: when a rank is lost, its C++ prints stack traces beside the line that names the rank.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from mistral7b.train.pretrain import pretrain as run

    try:
        with Screen(as_json) as screen:
            outcome = run(found, screen, until=until)
    except ModuleNotFoundError as error:
        raise RequestError(f"pretrain needs the package {error.name}; pip install 'mistral7b[train]'") from None
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        emit({"step": outcome.step, "steps": outcome.steps, "model": None if outcome.model is None else str(outcome.model)})
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

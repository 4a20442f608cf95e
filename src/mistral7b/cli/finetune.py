"""`finetune`: a model made one's own, its data checked and shown before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mistral7b.cli import options, plans
from mistral7b.cli.help import examples
from mistral7b.cli.pretrain import Screen
from mistral7b.cli.terminal import emit, tell
from mistral7b.errors import RequestError

_FILES = "--set RUN=runs/mine --set TRAIN=mine.jsonl --set HELD_OUT=test.jsonl"
EXAMPLES = examples(
    f"mistral7b finetune recipes/7b-lora.yaml {_FILES}",
    f"mistral7b finetune --check recipes/7b-lora.yaml {_FILES}",
    f"mistral7b finetune --show-masks 3 recipes/7b-lora.yaml {_FILES}",
    f"mistral7b finetune --plan recipes/7b-full.yaml {_FILES} --world-size 8",
)
_DATA = "Data"


def finetune(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's YAML file.")],
    variables: options.Variables = None,
    until: Annotated[
        int | None, typer.Option("--until", metavar="STEP", min=1, help="Save and end after this step; the same command goes on.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Train nothing: name every example that is wrong.", rich_help_panel=_DATA)
    ] = False,
    corrected: Annotated[
        Path | None,
        typer.Option("--corrected", metavar="DIR", help="With --check: write the files mended, without what cannot be.",
                     rich_help_panel=_DATA),
    ] = None,
    show_masks: Annotated[
        int | None,
        typer.Option("--show-masks", metavar="N", min=1, help="Train nothing: print N samples, what is learned in colour.",
                     rich_help_panel=_DATA),
    ] = None,
    plan: plans.Wanted = False,
    world_size: plans.WorldSize = None,
    device: plans.Device = None,
    mfu: plans.Mfu = 0.4,
    tokens: plans.Tokens = None,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Fine-tune a model on examples, by a recipe.

    LoRA, QLoRA or all weights, or preferences (objective: dpo). Runs, stops and goes on as pretrain does. In the run's folder
    at the end: adapter/ in PEFT's layout, or model/.
    """
    from mistral7b.recipe import read_recipe, settings
    from mistral7b.train.finetune_recipe import Finetune

    found = read_recipe(recipe, Finetune, settings(variables or []))
    if corrected is not None and not check:
        raise RequestError("--corrected is for --check")
    if check or show_masks is not None:
        from mistral7b.cli.examples import check_examples, show_examples

        if show_masks is not None:
            show_examples(found, show_masks)
        if check:
            check_examples(found, corrected, as_json)
        return
    if plan:
        from mistral7b.train.finetune_plan import make_finetune_plan

        made = make_finetune_plan(found, world_size or 1, device or "h100", mfu, tokens=plans.count(tokens))
        plans.tell_plan(made, as_json)
        return
    plans.no_plan(world_size, device, tokens)
    # Before torch is there: when a rank is lost, its C++ prints stack traces beside the line that names the rank.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from mistral7b.train.finetune import finetune as run

    try:
        with Screen(as_json) as screen:
            outcome = run(found, screen, until=until)
    except ModuleNotFoundError as error:
        raise RequestError(f"finetune needs the package {error.name}; pip install 'mistral7b[train]'") from None
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        emit({"step": outcome.step, "steps": outcome.steps, "folder": None if outcome.model is None else str(outcome.model)})
    elif outcome.model is None:
        tell(f"stopped at step {outcome.step:,} of {outcome.steps:,}; the same command goes on")
    else:
        print(outcome.model)

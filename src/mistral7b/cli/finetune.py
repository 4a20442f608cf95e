"""`finetune`: a model made one's own, its data checked and shown before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options, plans, running
from mistral7b.cli.help import examples
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.train.run import Outcome

_FILES = "--set RUN=runs/mine --set TRAIN=mine.jsonl --set HELD_OUT=test.jsonl"
EXAMPLES = examples(
    f"mistral7b finetune recipes/7b-lora.yaml {_FILES}",
    f"mistral7b finetune --check recipes/7b-lora.yaml {_FILES}",
    f"mistral7b finetune --show-masks 3 recipes/7b-lora.yaml {_FILES}",
    f"mistral7b finetune --plan recipes/7b-full.yaml {_FILES} --world-size 8",
)
_DATA = "Data"


def finetune(
    recipe: running.Recipe,
    variables: options.Variables = None,
    until: running.Until = None,
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

    def run(screen: running.Screen) -> Outcome:
        from mistral7b.train.finetune import finetune

        return finetune(found, screen, until=until)

    running.follow("finetune", run, as_json=as_json, folder="folder")

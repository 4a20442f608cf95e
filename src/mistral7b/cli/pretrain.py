"""`pretrain`: a run from its recipe, or what it would take on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral7b.cli import options, plans, running
from mistral7b.cli.help import examples

if TYPE_CHECKING:
    from mistral7b.train.run import Outcome

EXAMPLES = examples(
    "mistral7b pretrain recipes/tiny/pretrain.yaml --set RUN=runs/tiny --set precision=bf16",
    "torchrun --nproc-per-node 8 -m mistral7b pretrain recipes/7b-pretrain.yaml --set RUN=runs/7b --set SHARDS=shards",
    "mistral7b pretrain --plan recipes/7b-pretrain.yaml --set RUN=runs/7b --set SHARDS=shards --world-size 64 "
    "--device h100 --tokens 2e12",
)


def pretrain(
    recipe: running.Recipe,
    variables: options.Variables = None,
    until: running.Until = None,
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

    def run(screen: running.Screen) -> Outcome:
        from mistral7b.train.pretrain import pretrain

        return pretrain(found, screen, until=until)

    running.follow("pretrain", run, as_json=as_json, folder="model")

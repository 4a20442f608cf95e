"""Training here = training transformers' network on the same batches: losses step by step, both optimizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.training_curve import Named, step, theirs

from mistral7b.data.shards import Shards
from mistral7b.train.batches import course, micro_batches
from mistral7b.train.optim import optimizers, set_rates
from mistral7b.train.pretrain import pretrain
from mistral7b.train.recipe import Optimizer
from mistral7b.train.schedule import share
from tests.train import made
from tests.train.made import ALONE


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_curve_is_that_of_transformers(tmp_path: Path, name: str) -> None:
    shards = made.shards(tmp_path / "shards")
    recipe = made.recipe(tmp_path / "run", shards, optimizer=Optimizer(name=name, rate=3e-3))  # type: ignore[arg-type]
    watcher = made.Silent()
    pretrain(recipe, watcher, until=6)
    model = theirs(made.CONFIG, recipe.seed)
    optims = optimizers(Named(model, made.CONFIG), recipe.optimizer)
    rows = course(recipe, Shards.open(shards))
    for number, line in enumerate(watcher.lines):
        set_rates(optims, share(recipe.schedule, number, rows.steps(recipe.rows)))
        loss = step(model, micro_batches(rows, number, recipe.rows, 2, ALONE), optims, recipe.optimizer.clip)
        assert loss == pytest.approx(line["loss"], abs=1e-5)

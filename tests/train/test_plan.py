"""The plan: its arithmetic against published runs, its memory against counts by hand and by torch, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from mistral7b.cli.main import app
from mistral7b.config import ModelConfig
from mistral7b.data.pack import Row
from mistral7b.errors import RecipeError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.train.batches import micro_batch
from mistral7b.train.initial import fill
from mistral7b.train.loss import Loss
from mistral7b.train.plan import activations, make_plan
from mistral7b.train.recipe import Data, Optimizer, Parallel, Pretrain
from mistral7b.train.trainee import Trainee
from mistral7b.variants import V01
from tests.train import made

RECIPE = Path(__file__).parents[2] / "recipes" / "7b-pretrain.yaml"
GIVEN = ["pretrain", "--plan", str(RECIPE), "--set", "RUN=run", "--set", "SHARDS=shards"]
LLAMA = replace(V01, hidden_dim=11008, n_kv_heads=32, sliding_window=None)


def _recipe(config: ModelConfig = V01, *, length: int = 4096, rows: int = 1, batch: int = 1024, **changes: Any) -> Pretrain:
    data = Data(shards=Path("none"), length=length)
    return Pretrain(run=Path(), data=data, batch_tokens=batch * length, micro_batch_rows=rows, model=config, **changes)


@pytest.mark.parametrize(
    ("length", "tokens", "hours", "mfu"),
    [
        (2048, 1e12, 82_432, 0.446),  # LLaMA 7B, arXiv 2302.13971, table 15
        (4096, 2e12, 184_320, 0.414),  # Llama 2 7B, arXiv 2307.09288, table 2
    ],
)
def test_published_runs(length: int, tokens: float, hours: float, mfu: float) -> None:
    """At the MFU that the published device-hours come to, the plan comes to those hours; such runs lie between 0.35 and 0.5."""
    plan = make_plan(_recipe(LLAMA, length=length), 1024, "a100", mfu, tokens=int(tokens))
    assert plan.device_hours == pytest.approx(hours, rel=0.01)
    assert plan.days == pytest.approx(hours / 24 / 1024, rel=0.01)


def test_a_published_layout_fits_and_the_next_does_not() -> None:
    """LLM Foundry's table: a 7B on eight H100 of 80 GB, rows of 2,048 without recomputation, 6 at once."""
    fits = {rows: make_plan(_recipe(LLAMA, length=2048, rows=rows, batch=768), 8, "h100", 0.4).fits for rows in (6, 8)}
    assert fits == {6: True, 8: False}


@pytest.mark.parametrize("world", [1, 4])
def test_states_by_hand(world: int) -> None:
    plan = make_plan(_recipe(made.CONFIG, precision="fp32", length=64, batch=8), world, "cpu", 0.4, tokens=10**6)
    each = made.CONFIG.n_params / world
    assert plan.memory["weights, fp32"] == plan.memory["gradients, fp32"] == pytest.approx(4 * each)
    assert plan.memory["optimizer"] == pytest.approx(8 * each)
    muon = make_plan(replace(_recipe(length=64, batch=8), optimizer=Optimizer(name="muon")), world, "cpu", 0.4, tokens=10**6)
    assert 0.5 < muon.memory["optimizer"] / (8 * V01.n_params / world) < 0.55
    assert plan.fits is None
    assert plan.tokens_s is None


def _kept(config: ModelConfig, length: int) -> int:
    """Bytes that a forward holds for its backward pass, weights aside, as torch counts them."""
    model = Transformer(config, TrainingKernels())
    fill(model, None, 1)
    weights = {w.untyped_storage().data_ptr() for w in model.parameters()}
    held: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in weights:
            held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    ids = np.arange(length) + 1100
    micro = micro_batch([Row(ids, ids, np.array([0, length]))])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = Trainee(model)(micro.batch, micro.targets)
    assert isinstance(loss, Loss)
    assert loss.total.requires_grad
    return sum(held.values())


def test_what_a_layer_keeps() -> None:
    """Two layers more, as torch counts them and by the formula."""
    config, length = replace(made.CONFIG, dim=48, hidden_dim=80), 128
    deeper = replace(config, n_layers=config.n_layers + 2)
    recipe = _recipe(config, length=length, precision="fp32", batch=1)
    planned = activations(deeper, recipe, length, 1) - activations(config, recipe, length, 1)
    assert planned == pytest.approx(_kept(deeper, length) - _kept(config, length), rel=0.03)


def test_recomputing_keeps_an_eighth() -> None:
    plans = (make_plan(_recipe(parallel=Parallel(recompute=recompute)), 8, "h100", 0.4) for recompute in (False, True))
    kept, again = (plan.memory["activations"] for plan in plans)
    assert again < 0.13 * kept


@pytest.mark.parametrize(
    ("changes", "world", "advice"),
    [
        ({"rows": 8}, 64, "parallel.recompute: true"),
        ({"rows": 64, "parallel": Parallel(recompute=True)}, 8, "a smaller micro_batch_rows"),
        ({"length": 262_144, "batch": 64, "parallel": Parallel(recompute=True)}, 64, "parallel.tensor divides"),
        ({"parallel": Parallel(recompute=True, replicate=8)}, 8, "parallel.replicate: 1"),
        ({"parallel": Parallel(recompute=True)}, 1, "shrink with --world-size; it is 1"),
    ],
)
def test_what_does_not_fit_and_why(changes: dict[str, Any], world: int, advice: str) -> None:
    plan = make_plan(_recipe(**changes), world, "a100", 0.4, tokens=10**12)
    assert plan.fits is False
    over, way = plan.notes
    largest = max(plan.memory, key=lambda name: plan.memory[name])
    assert f"the largest part is {largest}" in over
    assert advice in way


def test_tensor_parallelism_divides_matrices_and_not_the_stream() -> None:
    whole, shared = (make_plan(_recipe(parallel=Parallel(tensor=n)), 8, "h100", 0.4).memory for n in (1, 4))
    assert whole["weights, fp32"] < shared["weights, fp32"] < 1.1 * whole["weights, fp32"]  # embeddings are whole in each
    assert 0.25 < shared["activations"] / whole["activations"] < 0.6


@pytest.mark.parametrize(
    ("world", "device", "changes", "line"),
    [
        (8, "abacus", {}, "--device abacus is not known; known are a10, a100"),
        (6, "h100", {"parallel": Parallel(tensor=4)}, "tensor x replicate is 4, which does not divide --world-size 6"),
        (6, "h100", {}, "1024 rows a step, which 6 ranks cannot share"),
        (48, "h100", {"batch": 48, "parallel": Parallel(tensor=16)}, "parallel.tensor 16 does not divide n_kv_heads 8"),
    ],
)
def test_refused(world: int, device: str, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError, match=line):
        make_plan(_recipe(**changes), world, device, 0.4)


def test_without_shards_it_says_what_it_reckons_with() -> None:
    plan = make_plan(_recipe(parallel=Parallel(recompute=True)), 64, "H100", 0.4)
    assert plan.fits
    assert plan.notes == ["none holds no shards yet: reckoned with 1,000,000,000,000 tokens"]


def test_with_shards_it_counts_their_tokens(tmp_path: Path) -> None:
    recipe = made.recipe(tmp_path / "run", made.shards(tmp_path / "shards"))
    plan = make_plan(recipe, 1, "cpu", 0.5, peak=1e9)
    assert plan.notes == []
    assert 0 < plan.tokens < 10**6
    assert plan.steps == plan.tokens // recipe.batch_tokens
    assert plan.tokens_s is not None


def test_the_published_recipe() -> None:
    """As the command line gives it: what was published, one object with --json, a table without."""
    run = CliRunner().invoke(app, [*GIVEN, "--world-size", "64", "--device", "h100", "--tokens", "2e12", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["parameters"] == V01.n_params
    assert found["fits"] is True
    assert found["tokens"] == 2 * 10**12
    assert found["bytes"] == pytest.approx(sum(found["memory"].values()))
    assert found["device_hours"] == pytest.approx(found["days"] * 24 * 64)
    shown = CliRunner().invoke(app, [*GIVEN, "--world-size", "64", "--tokens", "2e12"])
    assert "fits" in shown.stdout
    assert f"{V01.n_params:,}" in shown.stdout


@pytest.mark.parametrize("tokens", ["many", "0", "-5", "nan", "1e99"])
def test_tokens_that_are_no_number(tokens: str) -> None:
    run = CliRunner().invoke(app, [*GIVEN, f"--tokens={tokens}"])
    assert run.exit_code != 0
    assert f"--tokens {tokens} is no number of tokens" in run.output + str(run.exception)

"""One step: accumulation, packing, windows, spikes and losses that are not finite."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistral7b.data.shards import Shards
from mistral7b.errors import NumericError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.train import initial
from mistral7b.train.batches import Course, course, micro_batch, micro_batches
from mistral7b.train.loop import Norms, StepResult, training_step
from mistral7b.train.optim import optimizers
from mistral7b.train.recipe import Optimizer, Spikes
from mistral7b.train.trainee import Trainee
from mistral7b.train.watchdog import Watchdog
from tests.equivalence import oracle
from tests.train import made
from tests.train.made import ALONE


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Course:
    folder = made.shards(tmp_path_factory.mktemp("shards"))
    return course(made.recipe(Path(), folder), Shards.open(folder))


def _trainee(seed: int = 1, **changes: Any) -> Trainee:
    model = Transformer(replace(made.CONFIG, **changes), TrainingKernels())
    initial.fill(model, None, seed)
    for block in model.layers:  # zeros would hide what attention does
        torch.nn.init.normal_(block.attention.wo.weight, std=0.1)
        torch.nn.init.normal_(block.feed_forward.w2.weight, std=0.1)
    return Trainee(model)


def _step(trainee: Trainee, course: Course, at_once: int, optims: list[torch.optim.Optimizer], **over: Any) -> StepResult:
    settings: dict[str, Any] = {"precision": "fp32", "clip_at": 1.0, "spikes": Spikes(), "norms": Norms()}
    return training_step(
        trainee, micro_batches(course, 0, 8, at_once, ALONE), optims, ALONE, watchdog=Watchdog(ALONE, 60), **settings | over
    )


def test_accumulation_of_eight_equals_one_of_eight(rows: Course) -> None:
    """1 x 8 rows, 8 x 1 row and 3 + 3 + 2: the same loss and the same weights after."""
    results, weights = [], []
    for at_once in (8, 1, 3):
        torch.manual_seed(0)
        trainee = _trainee()
        results.append(_step(trainee, rows, at_once, optimizers(trainee.model, Optimizer(rate=1e-2))))
        weights.append(torch.cat([w.detach().flatten() for w in trainee.parameters()]))
    for result, after in zip(results[1:], weights[1:], strict=True):
        assert result.targets == results[0].targets
        assert result.loss == pytest.approx(results[0].loss, abs=1e-6)
        assert result.norm == pytest.approx(results[0].norm, rel=1e-5)
        torch.testing.assert_close(after, weights[0], atol=1e-6, rtol=0)


def _oracle_loss(trainee: Trainee, course: Course, count: int) -> Tensor:
    """Nats a token, document by document in fp64 under a dense mask."""
    total, targets = torch.zeros((), dtype=torch.float64), 0
    weights = trainee.model.state_dict()
    for row in (course.row(i) for i in range(count)):
        for start, end in zip(row.borders[:-1], row.borders[1:], strict=True):
            logits = oracle.logits(weights, trainee.model.config, row.ids[start:end].tolist())
            aims = torch.from_numpy(row.targets[start:end])
            keep = aims >= 0
            total -= logits.log_softmax(-1)[keep, aims[keep]].sum()
            targets += int(keep.sum())
    return total / targets


@pytest.mark.parametrize("window", [1, 7, 24, None])
def test_a_packed_windowed_batch_equals_documents_under_a_dense_mask(rows: Course, window: int | None) -> None:
    trainee = _trainee(sliding_window=window)
    expected = _oracle_loss(trainee, rows, 8)
    result = _step(trainee, rows, 4, [])
    assert result.loss == pytest.approx(expected.item(), abs=1e-5)


def test_no_gradient_crosses_a_border(rows: Course) -> None:
    """The loss of one document reaches the embeddings of its own ids only, through all layers."""
    trainee = _trainee()
    batch, targets, _ = vars(micro_batch([rows.row(0), rows.row(1)])).values()
    borders = batch.borders.tolist()
    assert len(borders) > 3
    for start, end in pairwise(borders):
        alone = torch.full_like(targets, -100)
        alone[start:end] = targets[start:end]
        embedded: list[Tensor] = []

        def keep(_: object, __: object, output: Tensor, held: list[Tensor] = embedded) -> None:
            output.retain_grad()
            held.append(output)

        hook = trainee.model.tok_embeddings.register_forward_hook(keep)
        trainee(batch, alone).total.backward()
        hook.remove()
        assert embedded[0].grad is not None
        felt = embedded[0].grad.abs().sum(1).nonzero().flatten().tolist()
        assert set(felt) <= set(range(start, end))
        assert felt or end - start == 1


def test_a_spike_changes_no_weight(rows: Course) -> None:
    trainee = _trainee()
    optims = optimizers(trainee.model, Optimizer(rate=1e-2))
    before = [w.detach().clone() for w in trainee.parameters()]
    norms = Norms(mean=math.log(1e-3), seen=100)
    result = _step(trainee, rows, 8, optims, norms=norms, spikes=Spikes(factor=2.0))
    assert result.skipped
    assert norms == Norms(mean=math.log(1e-3), seen=100, in_a_row=1)
    assert all(torch.equal(w, old) for w, old in zip(trainee.parameters(), before, strict=True))
    norms.in_a_row = 19
    with pytest.raises(NumericError, match="20 steps in a row"):
        _step(trainee, rows, 8, optims, norms=norms, spikes=Spikes(factor=2.0))


def test_a_loss_that_is_not_finite_stops_and_changes_no_weight(rows: Course) -> None:
    trainee = _trainee()
    with torch.no_grad():
        trainee.model.output.weight[5, 0] = math.nan
    before = [w.detach().clone() for w in trainee.parameters()]
    with pytest.raises(NumericError, match="the loss is nan"):
        _step(trainee, rows, 8, optimizers(trainee.model, Optimizer()))
    assert all(torch.equal(w, old) or w.isnan().any() for w, old in zip(trainee.parameters(), before, strict=True))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weight_decay_falls_on_matrices_only(name: str) -> None:
    model = _trainee().model
    optims = optimizers(model, Optimizer(name=name))  # type: ignore[arg-type]
    decayed = {id(w) for o in optims for g in o.param_groups if g["weight_decay"] for w in g["params"]}
    held = [id(w) for o in optims for g in o.param_groups for w in g["params"]]
    assert sorted(held) == sorted(id(w) for w in model.parameters())
    inner = [w for key, w in model.named_parameters() if w.dim() == 2 and (name == "adamw" or key.startswith("layers."))]
    assert decayed == {id(w) for w in inner}


def test_losses_of_recomputing_and_keeping_are_equal(rows: Course) -> None:
    from mistral7b.train.parallel import parallelise
    from mistral7b.train.recipe import Parallel

    grads = []
    for recompute in (False, True):
        torch.manual_seed(0)
        trainee = parallelise(_trainee().model, Parallel(recompute=recompute), "fp32", ALONE)
        batch, targets, _ = vars(micro_batch([rows.row(0)])).values()
        trainee(batch, targets).total.backward()
        grads.append([w.grad for w in trainee.parameters()])
    for kept, again in zip(*grads, strict=True):
        torch.testing.assert_close(kept, again, atol=0, rtol=0)

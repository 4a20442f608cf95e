"""One step of training: forward and backward of each micro-batch, the norm, the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from mistral7b.errors import NumericError
from mistral7b.train.batches import MicroBatch
from mistral7b.train.clip import clip, gradient_norm
from mistral7b.train.loss import Loss
from mistral7b.train.parallel import average, synchronise
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Precision, Spikes
from mistral7b.train.trainee import Trainee
from mistral7b.train.watchdog import Watchdog

_SETTLED = 50  # steps before a gradient norm can be told from a spike
_FADE = 0.98


@dataclass(frozen=True)
class StepResult:
    """`loss` a target (nats, for a next token) over all ranks, the gradients' `norm` before clipping, `targets` counted, `tokens`
    read; `skipped`: the weights stayed as they were."""

    loss: float
    norm: float
    targets: int
    tokens: int
    skipped: bool


@dataclass
class Norms:
    """The running mean of gradient norms, in logarithms, of `seen` steps; `in_a_row` counts skipped ones."""

    mean: float = 0.0
    seen: int = 0
    in_a_row: int = 0

    def is_spike(self, norm: float, factor: float) -> bool:
        return self.seen >= _SETTLED and norm > factor * math.exp(self.mean)

    def note(self, norm: float) -> None:
        self.seen += 1
        fade = min(_FADE, 1 - 1 / self.seen)
        self.mean = fade * self.mean + (1 - fade) * math.log(max(norm, 1e-30))


def training_step(
    trainee: Trainee,
    micro_batches: Sequence[MicroBatch],
    optims: Sequence[torch.optim.Optimizer],
    ranks: Ranks,
    *,
    precision: Precision,
    clip_at: float,
    spikes: Spikes,
    norms: Norms,
    watchdog: Watchdog,
) -> StepResult:
    """One update of the weights from this rank's `micro_batches`; every target of every rank weighs the same.

    A spike changes `norms` only, and counts there. Raises NumericError for a loss or a gradient that is not finite, and for
    too many spikes in a row; the weights are then as before.
    """
    counts = [sum(micro.wanted for micro in micro_batches), sum(len(micro.batch.ids) for micro in micro_batches)]
    targets, tokens = map(int, ranks.sum(torch.tensor(counts, dtype=torch.float64, device=ranks.device)).tolist())
    nll = torch.zeros((), device=ranks.device)
    for i, micro in enumerate(micro_batches):
        watchdog.beat()
        synchronise(trainee, i == len(micro_batches) - 1)
        with _autocast(precision, ranks, trainee):
            loss = trainee(micro.batch, micro.targets)
        assert isinstance(loss, Loss)
        # Sharding averages gradients over the data ranks.
        (loss.total * (ranks.data_ranks / max(targets, 1))).backward()
        nll += loss.nll
    average(trainee, ranks)
    mean = (ranks.sum(nll) / max(targets, 1)).item()
    weights = list(trainee.parameters())
    norm = gradient_norm(weights, ranks)
    skipped = _check(mean, norm.item(), spikes, norms)
    if not skipped:
        clip(weights, norm, clip_at)
        for optimizer in optims:
            optimizer.step()
    for optimizer in optims:
        optimizer.zero_grad()
    return StepResult(mean, norm.item(), targets, tokens, skipped)


def _check(loss: float, norm: float, spikes: Spikes, norms: Norms) -> bool:
    """Whether the step is to be skipped."""
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise NumericError(f"the loss is {loss:g} and the gradient norm {norm:g}")
    if not norms.is_spike(norm, spikes.factor):
        norms.note(norm)
        norms.in_a_row = 0
        return False
    norms.in_a_row += 1
    if norms.in_a_row >= spikes.most:
        raise NumericError(f"gradient norms were over {spikes.factor:g} times their mean for {norms.in_a_row} steps in a row")
    return True


def _autocast(precision: Precision, ranks: Ranks, trainee: Trainee) -> AbstractContextManager[object]:
    """bf16 products on fp32 weights; frozen weights are bf16 already, as are those that sharding gathers."""
    if precision == "bf16" and ranks.mesh is None and trainee.model.dtype == torch.float32:
        return torch.autocast(ranks.device.type, torch.bfloat16)
    return nullcontext()

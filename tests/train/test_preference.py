"""DPO: the loss by its definition; a planted preference is learned, and the reference stays as it was."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.data.pack import Row
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.lora import LoraSpec, add_adapter
from mistral7b.model.transformer import Transformer
from mistral7b.tokens.dialogue import Sample
from mistral7b.train.adapted import adapter_only
from mistral7b.train.batches import MicroBatch, micro_batch
from mistral7b.train.evaluate import preferences
from mistral7b.train.examples import row_of
from mistral7b.train.finetune_recipe import FinetuneOptimizer
from mistral7b.train.loop import Norms, training_step
from mistral7b.train.optim import optimizers
from mistral7b.train.preference import PreferenceTrainee, switched_off
from mistral7b.train.recipe import Spikes
from mistral7b.train.watchdog import Watchdog
from tests.equivalence.networks import network, random_ids, small
from tests.train.made import ALONE

VOCAB, LIKED, OTHER = 64, 7, 9


def _network(seed: int = 0) -> Transformer:
    model = network(small(vocab_size=VOCAB), kernels=TrainingKernels(), seed=seed)
    add_adapter(model, LoraSpec(rank=4, alpha=8.0), seed=1)
    return model


def _reply(prompt: list[int], reply: list[int]) -> Sample:
    return Sample(prompt + reply, [False] * len(prompt) + [True] * len(reply))


class _Pairs:
    """Replies with a planted token are preferred."""

    rows = 24

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def row(self, index: int) -> Row:
        said = random_ids(12, vocab=VOCAB, seed=self.seed + index)
        prompt, reply = said[:6], said[6:]
        return row_of((_reply(prompt, [LIKED, *reply]), _reply(prompt, [OTHER, *reply])))


def _micros(pairs: _Pairs) -> list[MicroBatch]:
    made = [micro_batch([pairs.row(i), pairs.row(i + 1)]) for i in range(0, pairs.rows, 2)]
    return [MicroBatch(each.batch, each.targets, 2) for each in made]


def _log_likelihood(model: Transformer, row: Row, which: int, *, base: bool) -> Tensor:
    span = slice(row.borders[which], row.borders[which + 1])
    batch = TokenBatch.pack([Span(row.ids[span].tolist(), logits="all")])
    targets = torch.from_numpy(row.targets[span])
    logits = model(switched_off(batch) if base else batch)
    return -F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


def test_the_loss_is_that_of_the_paper() -> None:
    model = _network()
    for weight in adapter_only(model).parameters():
        torch.nn.init.normal_(weight, std=0.1)
    pairs, beta = _Pairs(100), 0.3
    loss = PreferenceTrainee(model, beta)(_micros(pairs)[0].batch, _micros(pairs)[0].targets)
    wanted = torch.zeros(())
    for i in range(2):
        gained = [
            _log_likelihood(model, pairs.row(i), which, base=False) - _log_likelihood(model, pairs.row(i), which, base=True)
            for which in range(2)
        ]
        wanted = wanted - F.logsigmoid(beta * (gained[0] - gained[1]))
    torch.testing.assert_close(loss.total, wanted, rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad(loss.total, list(adapter_only(model).parameters()))
    theirs = torch.autograd.grad(wanted, list(adapter_only(model).parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_planted_preference_is_learned_on_pairs_never_seen() -> None:
    model = _network()
    trainee, held_out = PreferenceTrainee(model, 0.5), _Pairs(10_000)
    before = preferences(trainee, held_out, ALONE, most=None)
    reference = _log_likelihood(model, held_out.row(0), 0, base=True)
    optims = optimizers(adapter_only(model), FinetuneOptimizer(rate=1e-2))
    settings: dict[str, Any] = {"precision": "fp32", "clip_at": 1.0, "spikes": Spikes(factor=1e9), "norms": Norms()}
    losses = [
        training_step(trainee, _micros(_Pairs(100 * step)), optims, ALONE, **settings, watchdog=Watchdog(ALONE, 60)).loss
        for step in range(30)
    ]
    after = preferences(trainee, held_out, ALONE, most=None)
    assert abs(losses[0] - torch.log(torch.tensor(2.0)).item()) < 1e-5  # adapter and base are one: no preference yet
    assert losses[-1] < 0.3
    assert (before["preferred"], before["KL a token"]) == (0.0, 0.0)
    assert after["preferred"] > 0.9
    assert after["margin"] > 5
    assert 0 < after["KL a token"] < 5
    assert torch.equal(_log_likelihood(model, held_out.row(0), 0, base=True), reference)

"""Direct preference optimisation (arXiv 2305.18290): of two replies the preferred one becomes likelier than under the reference.

The reference is the network with its adapter switched off, so there is no second copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.model.batch import TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.train.likelihood import divergence, log_likelihoods
from mistral7b.train.loss import Loss
from mistral7b.train.trainee import Trainee, head_of


class Pairs(NamedTuple):
    """By how many nats each pair's preferred reply gained more on the reference than the other, `margins` `[P]`; and at each
    target KL(model || reference) of the next token, `drift`, nats."""

    margins: Tensor
    drift: Tensor


class PreferenceTrainee(Trainee):
    """Its batches hold pairs: sequence 2p is preferred to sequence 2p + 1, which answers the same prompt."""

    def __init__(self, model: Transformer, beta: float) -> None:
        super().__init__(model)
        self.beta = beta

    def forward(  # type: ignore[override]
        self, batch: TokenBatch, targets: Tensor | None = None, *, drift: bool = False
    ) -> Loss | Tensor | Pairs:
        """With targets `[T]` of the replies the sum of -log sigmoid(beta x margin) over the pairs (equation 7); with `drift`
        the margins themselves, and how far the model has gone."""
        if targets is None:
            return super().forward(batch)
        head = head_of(self.model)
        with torch.no_grad():
            reference = self.model.hidden(switched_off(batch))
            usual = log_likelihoods(reference, head, targets)
        states = self.model.hidden(batch)
        gained = log_likelihoods(states, head, targets) - usual
        lengths = batch.borders.diff()
        of = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(gained.device)
        sums = torch.zeros(len(lengths), device=gained.device).index_add(0, of, gained)
        margins = sums[0::2] - sums[1::2]
        if drift:
            aimed = (targets >= 0).to(states.device)
            return Pairs(margins, divergence(states[aimed], reference[aimed], head))
        loss = -F.logsigmoid(self.beta * margins).sum()
        return Loss(loss, loss.detach())


def switched_off(batch: TokenBatch) -> TokenBatch:
    """The same batch through the base alone."""
    return replace(batch, adapters=torch.full((len(batch.borders) - 1,), -1))

"""Direct preference optimisation (arXiv 2305.18290): of two replies the preferred one becomes likelier than under the reference.

The reference is the network with its adapter switched off, so there is no second copy.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.model.batch import TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.train.likelihood import divergence, log_likelihoods
from mistral7b.train.loss import Loss
from mistral7b.train.trainee import Trainee, head_of


class PreferenceTrainee(Trainee):
    """Its batches hold pairs: sequence 2p is preferred to sequence 2p + 1, which answers the same prompt."""

    def __init__(self, model: Transformer, beta: float) -> None:
        super().__init__(model)
        self.beta = beta

    def forward(self, batch: TokenBatch, targets: Tensor | None = None) -> Loss | Tensor:
        """With targets `[T]` of the replies the sum of -log sigmoid(beta x margin) over the pairs (equation 7)."""
        if targets is None:
            return super().forward(batch)
        loss = -F.logsigmoid(self.beta * self.margins(batch, targets)).sum()
        return Loss(loss, loss.detach())

    def margins(self, batch: TokenBatch, targets: Tensor) -> Tensor:
        """By how many nats each pair's preferred reply gained more on the reference than the other, `[P]`."""
        head, targets = head_of(self.model), targets.to(self.model.device)
        with torch.no_grad():
            reference = log_likelihoods(self.model.hidden(switched_off(batch)), head, targets)
        gained = log_likelihoods(self.model.hidden(batch), head, targets) - reference
        of = torch.repeat_interleave(torch.arange(len(batch.borders) - 1), batch.borders.diff()).to(gained.device)
        sums = torch.zeros(len(batch.borders) - 1, device=gained.device).index_add(0, of, gained)
        return sums[0::2] - sums[1::2]

    @torch.no_grad()
    def drift(self, batch: TokenBatch, targets: Tensor) -> Tensor:
        """KL(model || reference) of the next token, nats, at each target."""
        rows = targets >= 0
        states, reference = (self.model.hidden(each)[rows] for each in (batch, switched_off(batch)))
        return divergence(states, reference, head_of(self.model))


def switched_off(batch: TokenBatch) -> TokenBatch:
    """The same batch through the base alone."""
    return replace(batch, adapters=torch.full((len(batch.borders) - 1,), -1))

"""Trainee: the network and its loss as one module, so that sharding sees every weight used inside one forward."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor, nn

from mistral7b.model.batch import TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.quant.linear import QuantLinear
from mistral7b.train.loss import Loss, next_token_loss
from mistral7b.train.sharded import local


class Trainee(nn.Module):
    """`tensor_group`: the ranks that hold the head's rows in shards; None if every rank has all."""

    def __init__(self, model: Transformer, *, z_loss: float = 0.0, tensor_group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.model = model
        self.z_loss = z_loss
        self.tensor_group = tensor_group

    def forward(self, batch: TokenBatch, targets: Tensor | None = None) -> Loss | Tensor:
        """With targets `[T]` their loss, without the logits of `batch.logit_rows`."""
        if targets is None:
            return self.model(batch)  # type: ignore[no-any-return]
        states = self.model.hidden(batch)
        return next_token_loss(states, head_of(self.model), targets, z_loss=self.z_loss, group=self.tensor_group)


def head_of(model: Transformer) -> Tensor:
    """The head's matrix `[V, dim]`, this rank's part of it; made for the moment where it stays packed."""
    head: nn.Module = model.output
    return head.packed.dense(model.dtype) if isinstance(head, QuantLinear) else local(model.output.weight)

"""Log-likelihoods of next tokens one by one, and how far two models are apart, without all logits at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mistral7b.train.loss import chunk_bytes, with_target


def log_likelihoods(states: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """log p of each of `targets` `[T]` (nats, fp32; 0 where there is none) by states `[T, dim]` under a frozen head `[V, dim]`.

    Logits of the rows with a target are made in chunks, and again for the backward pass, which gives the gradient of the
    states. `targets` are on the CPU.
    """
    aimed = with_target(targets)
    rows = aimed.to(states.device)
    found: Tensor = _LogLikelihoods.apply(  # type: ignore[no-untyped-call]
        states.index_select(0, rows), head, targets[aimed].to(states.device)
    )
    return found.new_zeros(len(targets)).index_copy(0, rows, found)


@torch.no_grad()
def divergence(states: Tensor, others: Tensor, head: Tensor) -> Tensor:
    """KL(p || q) of the next token in each row `[T]`, nats: p by `states`, q by `others`, both `[T, dim]`, under one head."""
    found = []
    for p, q in zip(states.split(_rows(states, head)), others.split(_rows(states, head)), strict=True):
        log_p, log_q = (F.linear(part, head).float().log_softmax(-1) for part in (p, q))
        found.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(found)


def _rows(states: Tensor, head: Tensor) -> int:
    return max(16, chunk_bytes(states.device.type) // (4 * len(head)))


class _LogLikelihoods(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(states, head, targets)
        found = []
        for rows, aims in zip(states.split(_rows(states, head)), targets.split(_rows(states, head)), strict=True):
            logits = F.linear(rows, head).float()
            found.append(logits.gather(1, aims[:, None])[:, 0] - logits.logsumexp(-1))
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """d log p / d logits is one at the target, less the softmax."""
        states, head, targets = ctx.saved_tensors
        size = _rows(states, head)
        found = []
        for rows, aims, pull in zip(states.split(size), targets.split(size), grad.split(size), strict=True):
            slope = F.linear(rows, head).float().softmax(-1).neg_()
            slope.scatter_add_(1, aims[:, None], torch.ones_like(pull)[:, None])
            slope *= pull[:, None]
            found.append(slope.to(head.dtype) @ head)
        return torch.cat(found), None, None

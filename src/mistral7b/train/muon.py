"""Muon: momentum whose matrices are made orthogonal before they are added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mistral7b.train.sharded import local, local_of, whole

_QUINTIC = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration: steep at zero, near 1 at 1
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For matrices only (https://kellerjordan.github.io/posts/muon), with Nesterov momentum, decay apart from the gradient,
    and steps of the size that AdamW's have, so that both share a learning rate (arXiv 2502.16982, section 2.2).

    Unlike torch's own it works in fp32 on a CPU, where bf16 is slow. A sharded matrix is gathered on every rank.
    """

    def __init__(self, weights: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None, "no closure"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group["lr"], group["weight_decay"], group["momentum"])

    def _update(self, weight: Tensor, rate: float, decay: float, momentum: float) -> None:
        state, grad = self.state[weight], weight.grad
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        mean: Tensor = state["momentum"]
        mean.lerp_(grad, 1 - momentum)
        ahead = grad.lerp(mean, momentum)
        full = whole(ahead)
        step = local_of(orthogonal(full) * (0.2 * max(full.shape) ** 0.5), weight)
        local(weight).mul_(1 - rate * decay).sub_(step, alpha=rate)


def orthogonal(x: Tensor) -> Tensor:
    """About U V^T of x = U S V^T: singular values between 0.7 and 1.2, by products alone; fp32 on a CPU, else bf16."""
    a, b, c = _QUINTIC
    y = x.float() if x.device.type == "cpu" else x.bfloat16()
    y = y.T if x.shape[0] > x.shape[1] else y
    y = y / (y.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    found: Tensor = (y.T if x.shape[0] > x.shape[1] else y).float()
    return found

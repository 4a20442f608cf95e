"""Muon: momentum whose matrices are made orthogonal before they are added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mistral7b.train.sharded import local, local_of, whole

_QUINTIC = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration: steep at zero, near 1 at 1
_ITERATIONS = 5
_AT_ONCE = 1 << 22  # numbers of the matrices that are made orthogonal together


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
            for weights in _alike(group["params"]):
                self._update(weights, group["lr"], group["weight_decay"], group["momentum"])

    def _update(self, weights: Sequence[Tensor], rate: float, decay: float, momentum: float) -> None:
        grads = [weight.grad for weight in weights if weight.grad is not None]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        means = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(means, grads, 1 - momentum)
        ahead = torch.stack([whole(each) for each in torch._foreach_lerp(grads, means, momentum)])
        steps = orthogonal(ahead) * (0.2 * max(ahead.shape[1:]) ** 0.5)
        ours = [local(weight) for weight in weights]
        torch._foreach_mul_(ours, 1 - rate * decay)
        torch._foreach_add_(ours, [local_of(step, weight) for step, weight in zip(steps, weights, strict=True)], alpha=-rate)


def _alike(weights: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Those with a gradient, by shape, as many at once as are small: of a small matrix the calls take longer than the work."""
    kinds: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        if weight.grad is not None:
            kinds.setdefault(weight.shape, []).append(weight)
    for shape, kind in kinds.items():
        some = max(1, _AT_ONCE // shape.numel())
        for start in range(0, len(kind), some):
            yield kind[start : start + some]


def orthogonal(x: Tensor) -> Tensor:
    """About U V^T of each x = U S V^T of `[N, rows, columns]`: singular values between 0.7 and 1.2, by products alone; fp32 on a
    CPU, else bf16."""
    a, b, c = _QUINTIC
    y = x.float() if x.device.type == "cpu" else x.bfloat16()
    y = y.mT if x.shape[1] > x.shape[2] else y
    y = y / (torch.linalg.vector_norm(y, dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    found: Tensor = (y.mT if x.shape[1] > x.shape[2] else y).float()
    return found

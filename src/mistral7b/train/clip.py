"""The norm of all gradients, whatever mesh each lies on, and clipping by it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from mistral7b.train.ranks import Ranks
from mistral7b.train.sharded import local


def gradient_norm(weights: Sequence[Tensor], ranks: Ranks) -> Tensor:
    """The Euclidean norm of all gradients together, fp32, the same on every rank."""
    total = torch.zeros((), dtype=torch.float32, device=ranks.device)
    for weight in weights:
        if weight.grad is not None:
            # Not vector_norm, which adds one after another: of a shard its error is another than of the whole.
            square = local(weight.grad).float().square().sum()
            total += square / _copies(weight.grad, ranks.world)
    if ranks.world > 1:
        dist.all_reduce(total)
    return total.sqrt()


def clip(weights: Sequence[Tensor], norm: Tensor, most: float) -> None:
    """Scales the gradients so that their norm is at most `most`."""
    grads = [local(weight.grad) for weight in weights if weight.grad is not None]
    if grads:
        torch._foreach_mul_(grads, (most / (norm + 1e-6)).clamp(max=1.0))


def _copies(x: Tensor, world: int) -> int:
    """How many ranks hold the same part."""
    if not isinstance(x, DTensor):
        return world
    held = world // x.device_mesh.size()
    for dim, placement in enumerate(x.placements):
        if isinstance(placement, Replicate):
            held *= x.device_mesh.size(dim)
    return held

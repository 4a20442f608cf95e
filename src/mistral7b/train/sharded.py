"""A tensor of which a rank may hold only a part: its part, the whole, and a whole cut alike."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def local(x: Tensor) -> Tensor:
    """This rank's part."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole(x: Tensor) -> Tensor:
    """All of it, gathered on every rank; all ranks call it."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def local_of(full: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a tensor that every rank holds whole, cut as `like` is; no communication."""
    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None).to_local()

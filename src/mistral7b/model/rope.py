"""Rotary position embedding: the angles (RoFormer, arXiv 2104.09864), for adjacent channel pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def rotations(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin, each fp32 `[T, head_dim / 2]`, of positions `[T]` times theta^(-2i / head_dim).

    The product is rounded to fp32 before the cosine, as the published implementations do; at position 32,767 that
    rounding is worth about 1e-3 radians, so a more exact angle would be another model.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.float()[:, None] * (1.0 / theta**exponents)
    return angles.cos(), angles.sin()

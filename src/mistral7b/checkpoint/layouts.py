"""The two row orders of wq and wk: adjacent rotary pairs (consolidated) and half-split (HF), FACTS 3.5.

Row order of one head of head_dim 6, pairs (a, b):   consolidated  a0 b0 a1 b1 a2 b2      HF  a0 a1 a2 b0 b1 b2
"""

from __future__ import annotations

import torch

from mistral7b.errors import CheckpointError


def to_half_split(weight: torch.Tensor, n_heads: int, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """Consolidated -> HF: [n_heads * head_dim, ...] in any dtype, rows reordered within each head, bits untouched.

    `n_heads` is n_heads for wq and n_kv_heads for wk. The copy goes to `out`, contiguous and of the same shape, if given.
    """
    return _regroup(weight, n_heads, out, from_pairs=True)


def to_pairs(weight: torch.Tensor, n_heads: int, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """HF -> consolidated: the inverse of `to_half_split`."""
    return _regroup(weight, n_heads, out, from_pairs=False)


def _regroup(weight: torch.Tensor, n_heads: int, out: torch.Tensor | None, *, from_pairs: bool) -> torch.Tensor:
    if not weight.dim() or weight.shape[0] % (2 * n_heads):
        raise CheckpointError(f"a query or key matrix of shape {list(weight.shape)} cannot hold {n_heads} heads of even size")
    half = weight.shape[0] // n_heads // 2
    grid = (half, 2) if from_pairs else (2, half)
    out = torch.empty_like(weight, memory_format=torch.contiguous_format) if out is None else out
    regrouped = weight.reshape(n_heads, *grid, -1).transpose(1, 2)
    out.view(regrouped.shape).copy_(regrouped)
    return out

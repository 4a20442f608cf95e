"""Pages: the keys, or the values, of one layer as a rolling cache holds them; and how int8 rounds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# A smaller scale would have no finite inverse: such a head counts as zeros.
_LEAST_SCALE = 1e-30


@dataclass(frozen=True, eq=False)
class Pages:
    """`numbers` `[pages, P, G, D]`: P tokens a page, G KV heads of D channels; what nobody has written holds anything.

    An int8 cache has `scales` `[pages, P, G]`, fp32: a number is its int8 times the scale of its token and head.
    """

    numbers: Tensor
    scales: Tensor | None = None

    def __post_init__(self) -> None:
        assert (self.scales is not None) == (self.numbers.dtype == torch.int8), "int8 numbers have scales, others none"


def quantized(x: Tensor) -> tuple[Tensor, Tensor]:
    """x `[..., D]` as int8 in [-127, 127] and its scales `[...]`, absmax / 127; each number rounds to the nearest step.

    A head that is not finite becomes zeros whose scale is not a number, so that attention to it is none either.
    """
    wide = x.float()
    top = wide.abs().amax(-1)
    scales = top / torch.full_like(top, 127.0)
    scales = torch.where(scales < _LEAST_SCALE, 0.0, scales)
    scales = torch.where(top.isfinite(), scales, torch.nan)
    steps = (wide / scales[..., None]).round()
    return torch.where((scales > 0)[..., None], steps, 0.0).to(torch.int8), scales

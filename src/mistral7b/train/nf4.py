"""NF4 (QLoRA, arXiv 2305.14314) by bitsandbytes, for frozen weights: 4 bits at the quantiles of a normal distribution, a scale
for each 64 of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mistral7b.errors import RecipeError
from mistral7b.kernels.interface import Kernels

_BLOCK = 64


@dataclass(frozen=True, eq=False)
class NF4Matrix:
    """A matrix `shape` `[N, K]`: `blocks` uint8, two weights a byte, and `scales` fp32, one for each 64 in reading order."""

    shape: tuple[int, int]
    blocks: Tensor
    scales: Tensor
    format: str = "nf4"

    @classmethod
    def of(cls, weight: Tensor) -> NF4Matrix:
        """`weight` rounded. Raises RecipeError without bitsandbytes."""
        blocks, scales = _library().quantize_4bit(weight.float().contiguous(), blocksize=_BLOCK, quant_type="nf4")
        return cls((weight.shape[0], weight.shape[1]), blocks, scales.absmax)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[N, K]`."""
        library = _library()
        code = library.get_4bit_type("nf4", device=str(self.blocks.device))
        state = library.QuantState(
            absmax=self.scales, shape=torch.Size(self.shape), code=code, blocksize=_BLOCK, quant_type="nf4", dtype=torch.float32
        )
        found: Tensor = library.dequantize_4bit(self.blocks, state)
        return found.to(dtype)


class NF4Linear(nn.Module):
    """A bias-free projection by an NF4 matrix, in a Linear's place."""

    blocks: Tensor
    scales: Tensor

    def __init__(self, packed: NF4Matrix, kernels: Kernels) -> None:
        super().__init__()
        self.shape = packed.shape
        self.register_buffer("blocks", packed.blocks)
        self.register_buffer("scales", packed.scales)
        self.kernels = kernels

    def forward(self, x: Tensor, plan: object = None) -> Tensor:  # noqa: ARG002  (a Linear's signature)
        return self.kernels.packed_linear(x, NF4Matrix(self.shape, self.blocks, self.scales))


def _library() -> Any:
    try:
        from bitsandbytes import functional
    except ImportError:
        raise RecipeError("quantize: nf4 needs bitsandbytes; pip install 'mistral7b[train]', or take int4") from None
    return functional

"""PackedMatrix: a weight matrix in one of the packed formats, as files hold it and kernels read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.quant.formats import BLOCK_CHANNELS, FORMATS, GROUP_INPUTS, FormatName, blocks_shape, padded
from mistral7b.quant.layout import pack_blocks, unpack_blocks

_AT_ONCE = 1 << 20  # weights (un)packed together: what passes between the steps stays in a cache, and never weighs much


@dataclass(frozen=True, slots=True, eq=False)
class PackedMatrix:
    """`blocks` uint8 `[N/16, K/128, B]` and `scales` fp32 `[N padded]` (None for q4_0 and q8_0) of a matrix `shape` `[N, K]`."""

    format: FormatName
    shape: tuple[int, int]
    blocks: Tensor
    scales: Tensor | None

    def __post_init__(self) -> None:
        form = FORMATS[self.format]
        assert tuple(self.blocks.shape) == blocks_shape(form, self.shape), (self.blocks.shape, self.shape)
        assert self.blocks.dtype == torch.uint8
        assert (self.scales is not None) == form.has_channel_scales

    @property
    def nbytes(self) -> int:
        return self.blocks.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[N, K]`: products in fp32, channel scale times group scale first, then rounded to `dtype`."""
        out = torch.empty(self.shape, dtype=dtype, device=self.blocks.device)
        form = FORMATS[self.format]
        for part in _parts(self.shape):
            rows = slice(part.start // BLOCK_CHANNELS, -(-part.stop // BLOCK_CHANNELS))
            q, groups = unpack_blocks(form, self.blocks[rows])
            channels = None if self.scales is None else self.scales[rows.start * BLOCK_CHANNELS : rows.stop * BLOCK_CHANNELS]
            out[part] = _times_scales(q, groups, channels)[: part.stop - part.start, : self.shape[1]]
        return out

    def codes(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """q int8 `[N, K]`, group scales `[N, groups]` (uint8 or fp16) and channel scales fp32 `[N]`: what `pack` was given."""
        (rows, inputs), count = self.shape, -(-self.shape[1] // GROUP_INPUTS)
        q, groups = unpack_blocks(FORMATS[self.format], self.blocks)
        return (
            q[:rows, :inputs],
            None if groups is None else groups[:rows, :count],
            None if self.scales is None else self.scales[:rows],
        )


def pack(format: FormatName, q: Tensor, groups: Tensor | None, channels: Tensor | None) -> PackedMatrix:
    """Integers q int8 `[N, K]`, group scales `[N, ceil(K / 32)]` and channel scales fp32 `[N]`, as the format has them."""
    form, shape = FORMATS[format], (q.shape[0], q.shape[1])
    blocks = torch.empty(blocks_shape(form, shape), dtype=torch.uint8, device=q.device)
    full_rows, full_inputs = padded(shape)
    for part in _parts(shape):
        rows = slice(part.start // BLOCK_CHANNELS, -(-part.stop // BLOCK_CHANNELS))
        below = rows.stop * BLOCK_CHANNELS - part.stop
        held = F.pad(q[part], (0, full_inputs - shape[1], 0, below))
        scales = None
        if groups is not None:
            scales = F.pad(groups[part], (0, full_inputs // GROUP_INPUTS - groups.shape[1], 0, below))
        blocks[rows] = pack_blocks(form, held, scales)
    scales = None if channels is None else F.pad(channels.float(), (0, full_rows - shape[0]))
    return PackedMatrix(format, shape, blocks, scales)


def _times_scales(q: Tensor, groups: Tensor | None, channels: Tensor | None) -> Tensor:
    """fp32 `[N, K]`."""
    if groups is None:
        assert channels is not None
        return q.float() * channels[:, None]
    scales = groups.float() if channels is None else groups.float() * channels[:, None]
    grouped: Tensor = q.float().unflatten(1, (-1, GROUP_INPUTS))
    return (grouped * scales[..., None]).flatten(1)


def _parts(shape: tuple[int, int]) -> Iterator[slice]:
    """Rows to (un)pack together, beginning at whole blocks."""
    rows = max(1, _AT_ONCE // padded(shape)[1] // BLOCK_CHANNELS) * BLOCK_CHANNELS
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))

"""The packed layouts weight by weight, straight from their description, as slowly as they can be written."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mistral7b.quant.formats import FORMATS, FormatName

Ints = npt.NDArray[Any]


def codes(format: FormatName, rows: int, inputs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Random q, group scales and channel scales, as `pack` takes them."""
    form, generator = FORMATS[format], torch.Generator().manual_seed(seed)
    q = torch.randint(form.low, form.high + 1, (rows, inputs), generator=generator).to(torch.int8)
    count = -(-inputs // 32)
    groups = None
    if form.group_scales == "u8":
        groups = torch.randint(0, 256, (rows, count), generator=generator).to(torch.uint8)
    elif form.group_scales == "fp16":
        groups = torch.randn(rows, count, generator=generator).half()
    channels = torch.randn(rows, generator=generator) if form.has_channel_scales else None
    return q, groups, channels


def packed_block(format: FormatName, q: Ints, groups: Ints | None, row: int, column: int) -> bytes:
    """The block of channels 16 * row on and inputs 128 * column on; q is 0 beyond its edges."""

    def weight(c: int, k: int) -> int:
        n, i = 16 * row + c, 128 * column + k
        return int(q[n, i]) if n < q.shape[0] and i < q.shape[1] else 0

    def scale(g: int, c: int) -> Any:
        n, i = 16 * row + c, 4 * column + g
        return groups[n, i] if groups is not None and n < groups.shape[0] and i < groups.shape[1] else 0

    size = {"int4": 1088, "int5": 1344, "int8": 2048, "q4_0": 1152, "q8_0": 2176}[format]
    block = bytearray(size)
    at = {"int4": 64, "int5": 64, "int8": 0, "q4_0": 128, "q8_0": 128}[format]
    zero = 16 if format == "int5" else 8
    for g in range(4):
        for c in range(16):
            if format in ("int4", "int5"):
                block[g * 16 + c] = int(scale(g, c))
            elif format != "int8":
                block[(g * 16 + c) * 2 : (g * 16 + c) * 2 + 2] = struct.pack("<e", float(scale(g, c)))
    for c in range(16):
        for k in range(128):
            if format in ("int8", "q8_0"):
                block[at + 64 * (k // 4) + c * 4 + k % 4] = weight(c, k) & 255
                continue
            u = weight(c, k) + zero
            run = at + (320 if format == "int5" else 256) * (k // 32)
            block[run + 64 * (k % 32 // 8) + c * 4 + k % 4] |= (u & 15) << (4 if k % 8 >= 4 else 0)
            if format == "int5":
                block[run + 256 + c * 4 + k % 4] |= (u >> 4) << (k % 32 // 4)
    return bytes(block)


def dense(format: FormatName, q: Ints, groups: Ints | None, channels: Ints | None) -> npt.NDArray[np.float32]:
    out = np.zeros(q.shape, np.float32)
    for n in range(q.shape[0]):
        for k in range(q.shape[1]):
            scale = np.float32(1) if groups is None else np.float32(groups[n, k // 32])
            if channels is not None:
                scale = scale * np.float32(channels[n])
            out[n, k] = np.float32(q[n, k]) * scale
    return out

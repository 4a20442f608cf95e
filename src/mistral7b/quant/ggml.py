"""GGUF's Q4_0 and Q8_0 in our layout: the same integers and fp16 scales, moved and not rounded.

A GGUF block is 32 inputs of one channel (ggml-common.h, block_q4_0 and block_q8_0): an fp16 scale, then 16 bytes of which
byte j holds inputs j (low nibble) and j + 16 (high), or 32 signed bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mistral7b.quant.formats import FORMATS, GROUP_INPUTS, FormatName, blocks_shape
from mistral7b.quant.matrix import PackedMatrix, pack

_SCALE_BYTES = 2
_ROWS = 256  # repacked together; a multiple of the 16 channels of a block


def repack(format: FormatName, raw: Tensor, inputs: int) -> PackedMatrix:
    """`raw` uint8 `[N, bytes of a row]` of a GGUF matrix with `inputs` columns, a multiple of 32; `format` q4_0 or q8_0."""
    form, shape = FORMATS[format], (raw.shape[0], inputs)
    blocks = torch.empty(blocks_shape(form, shape), dtype=torch.uint8)
    end = 0
    for rows in raw.split(_ROWS):
        each: Tensor = rows.unflatten(1, (inputs // GROUP_INPUTS, -1))
        scales = each[..., :_SCALE_BYTES].contiguous().view(torch.float16)[..., 0]
        part = pack(format, _integers(each[..., _SCALE_BYTES:], form.bits), scales, None).blocks
        start, end = end, end + len(part)
        blocks[start:end] = part
    return PackedMatrix(format, shape, blocks, None)


def _integers(held: Tensor, bits: int) -> Tensor:
    """int8 `[N, K]` of bytes `[N, groups, 16 or 32]`."""
    if bits == 8:
        return held.contiguous().view(torch.int8).flatten(1)
    nibbles = torch.cat((held & 15, held >> 4), -1)
    return (nibbles.view(torch.int8) - 8).flatten(1)

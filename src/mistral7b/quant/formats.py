"""The packed formats. A block is 16 output channels x 128 inputs; a group, 32 inputs of one channel.

A matrix `[N, K]` is padded with zeros to multiples of 16 and 128. Its blocks are uint8 `[N/16, K/128, B]`, its channel scales
fp32 `[N padded]`. With q the integer of a weight, s its group's integer scale and d its group's fp16 scale:

    int4, int5   channel scale x s x q        int8   channel scale x q        q4_0, q8_0   d x q (as in GGUF, exactly)

B tells the formats apart, and is a multiple of 64: blocks that begin aligned stay aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BLOCK_CHANNELS, BLOCK_INPUTS, GROUP_INPUTS = 16, 128, 32
GROUPS = BLOCK_INPUTS // GROUP_INPUTS

FormatName = Literal["int4", "int5", "int8", "q4_0", "q8_0"]
GroupScales = Literal["none", "u8", "fp16"]


@dataclass(frozen=True, slots=True)
class PackedFormat:
    """`low` and `high` bound the integer of a weight; `bits` is the width it is stored in."""

    name: FormatName
    bits: int
    low: int
    high: int
    group_scales: GroupScales

    @property
    def has_channel_scales(self) -> bool:
        return self.group_scales != "fp16"

    @property
    def scale_bytes(self) -> int:
        """Bytes of a block that hold its group scales; they stand first."""
        return {"none": 0, "u8": 1, "fp16": 2}[self.group_scales] * BLOCK_CHANNELS * GROUPS

    @property
    def block_bytes(self) -> int:
        return self.scale_bytes + BLOCK_CHANNELS * BLOCK_INPUTS * self.bits // 8

    @property
    def bits_per_weight(self) -> float:
        """Bits of a block over its weights; channel scales come on top, 32 bits a row."""
        return self.block_bytes * 8 / (BLOCK_CHANNELS * BLOCK_INPUTS)


FORMATS: dict[FormatName, PackedFormat] = {
    form.name: form
    for form in (
        PackedFormat("int4", 4, -8, 7, "u8"),
        PackedFormat("int5", 5, -16, 15, "u8"),
        PackedFormat("int8", 8, -127, 127, "none"),
        PackedFormat("q4_0", 4, -8, 7, "fp16"),
        PackedFormat("q8_0", 8, -128, 127, "fp16"),
    )
}
BY_BLOCK_BYTES = {form.block_bytes: form for form in FORMATS.values()}


def padded(shape: tuple[int, int]) -> tuple[int, int]:
    """`shape` `[N, K]` in whole blocks."""
    rows, inputs = shape
    return -(-rows // BLOCK_CHANNELS) * BLOCK_CHANNELS, -(-inputs // BLOCK_INPUTS) * BLOCK_INPUTS


def blocks_shape(form: PackedFormat, shape: tuple[int, int]) -> tuple[int, int, int]:
    """The shape of the blocks of a matrix `shape`."""
    rows, inputs = padded(shape)
    return rows // BLOCK_CHANNELS, inputs // BLOCK_INPUTS, form.block_bytes


def packed_bytes(form: PackedFormat, shape: tuple[int, int]) -> int:
    """Bytes of a matrix `shape`, channel scales included."""
    rows, inputs, block = blocks_shape(form, shape)
    return rows * inputs * block + (4 * rows * BLOCK_CHANNELS if form.has_channel_scales else 0)

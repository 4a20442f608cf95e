"""Codes to bytes and back: where in a block each weight of 16 channels x 128 inputs stands.

A block begins with its group scales: for g = 0..3, c = 0..15 the scale of channel c's inputs 32g..32g+31, one byte, or two
little-endian ones of an fp16. Then the integers. Byte c*4+j of each run of 64 bytes belongs to channel c:

    4 bits   run p = 0..15: low nibble u[c][8p+j], high nibble u[c][8p+4+j], with u = q + 8
    5 bits   for g = 0..3: the low four bits of u = q + 16 as above, runs 4g..4g+3, then a run whose bit t = 0..7 is the fifth
             bit of u[c][32g+4t+j]
    8 bits   run t = 0..31: q[c][4t+j], signed

Functions here take whole blocks: rows are a multiple of 16, inputs of 128.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mistral7b.quant.formats import BLOCK_CHANNELS, BLOCK_INPUTS, GROUP_INPUTS, GROUPS, PackedFormat

_RUN = 4  # inputs of one channel that lie together


def pack_blocks(form: PackedFormat, q: Tensor, groups: Tensor | None) -> Tensor:
    """Blocks uint8 `[N/16, K/128, B]` of the integers q, int8 `[N, K]`, and the group scales, uint8 or fp16 `[N, K/32]`."""
    parts = [] if groups is None else [_scales_in(groups)]
    if form.bits == 8:
        parts.append(_runs(q.view(torch.uint8)))
    else:
        u = (q + -form.low).to(torch.uint8)  # q - low lies within 0..31, int8 holds it
        runs = _nibbles_in(u & 15)
        if form.bits == 5:
            runs = torch.cat((_by_group(runs), _by_group(_fifth_in(u >> 4))), -1).flatten(2)
        parts.append(runs)
    return torch.cat(parts, -1)


def unpack_blocks(form: PackedFormat, blocks: Tensor) -> tuple[Tensor, Tensor | None]:
    """The inverse of `pack_blocks`: q int8 `[N, K]` and the group scales `[N, K/32]`."""
    at = form.scale_bytes
    groups = _scales_out(form, blocks[..., :at]) if at else None
    if form.bits == 8:
        return _unrun(blocks[..., at:].view(torch.int8)), groups
    runs = _by_group(blocks[..., at:])
    nibbles = BLOCK_CHANNELS * GROUP_INPUTS // 2
    u = _nibbles_out(runs[..., :nibbles].flatten(2))
    if form.bits == 5:
        u |= _fifth_out(runs[..., nibbles:].flatten(2)) << 4
    return u.view(torch.int8) + form.low, groups


def _by_group(runs: Tensor) -> Tensor:
    groups: Tensor = runs.unflatten(-1, (GROUPS, -1))
    return groups


def _runs(values: Tensor) -> Tensor:
    """`[N, K]` -> `[N/16, K/128, 2048]`: run t of 64 bytes holds inputs 4t..4t+3 of each channel."""
    shape = (values.shape[0] // BLOCK_CHANNELS, BLOCK_CHANNELS, values.shape[1] // BLOCK_INPUTS, BLOCK_INPUTS // _RUN, _RUN)
    return values.reshape(shape).permute(0, 2, 3, 1, 4).flatten(2)


def _unrun(runs: Tensor) -> Tensor:
    """The inverse of `_runs`."""
    shape = (*runs.shape[:2], BLOCK_INPUTS // _RUN, BLOCK_CHANNELS, _RUN)
    rows: Tensor = runs.reshape(shape).permute(0, 3, 1, 2, 4).flatten(2).flatten(0, 1)
    return rows


def _nibbles_in(u: Tensor) -> Tensor:
    runs: Tensor = _runs(u).unflatten(-1, (-1, 2, BLOCK_CHANNELS * _RUN))
    return (runs[..., 0, :] | runs[..., 1, :] << 4).flatten(2)


def _nibbles_out(nibbles: Tensor) -> Tensor:
    runs = nibbles.unflatten(-1, (-1, BLOCK_CHANNELS * _RUN))
    return _unrun(torch.stack((runs & 15, runs >> 4), -2).flatten(2))


def _fifth_in(bits: Tensor) -> Tensor:
    """One byte for the bits of the 8 runs of a group."""
    runs: Tensor = _runs(bits).unflatten(-1, (GROUPS, 8, BLOCK_CHANNELS * _RUN))
    return (runs << _bit_numbers(bits)).sum(-2, dtype=torch.uint8).flatten(2)


def _fifth_out(packed: Tensor) -> Tensor:
    each = packed.unflatten(-1, (GROUPS, 1, BLOCK_CHANNELS * _RUN))
    return _unrun((each >> _bit_numbers(packed) & 1).flatten(2))


def _bit_numbers(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)[:, None]


def _scales_in(groups: Tensor) -> Tensor:
    shape = (groups.shape[0] // BLOCK_CHANNELS, BLOCK_CHANNELS, groups.shape[1] // GROUPS, GROUPS)
    return groups.reshape(shape).permute(0, 2, 3, 1).flatten(2).contiguous().view(torch.uint8)


def _scales_out(form: PackedFormat, scales: Tensor) -> Tensor:
    held = scales.contiguous().view(torch.float16 if form.group_scales == "fp16" else torch.uint8)
    rows: Tensor = held.unflatten(-1, (GROUPS, BLOCK_CHANNELS)).permute(0, 3, 1, 2).flatten(2).flatten(0, 1)
    return rows

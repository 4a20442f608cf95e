"""The reference room: plain torch, any device. Slow where it must be to give a row the same bits in any batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.kernels.interface import visible
from mistral7b.kernels.packed import packed_attention
from mistral7b.kernels.tiles import QUERY_TILE, QueryTiles

# A finite stand-in for minus infinity: exp(masked - running maximum) is 0 and never NaN while a row has seen no key.
_LOWEST = -1e30
# Tiles attended at once: bounds the gathered keys at 16 blocks.
_TILE_GROUP = 16


class TorchKernels:
    """Kernels whose result for a row is a function of that row alone.

    A library's matrix product may use another kernel, and other rounding, at 1 row than at 32. So rows go through in
    tiles of exactly `row_tile`, padded with zeros. The promise holds for widths that are multiples of 8, as all published
    ones are. `row_tile=None` drops it for speed (training).
    """

    def __init__(self, row_tile: int | None = 16) -> None:
        self.row_tile = row_tile

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.row_tile is None:
            return F.linear(x, weight)
        rows = x.shape[0]
        padded = F.pad(x, (0, 0, 0, -rows % self.row_tile))
        tiles = [F.linear(tile, weight) for tile in padded.split(self.row_tile)]
        return (tiles[0] if len(tiles) == 1 else torch.cat(tiles))[:rows]

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).type_as(x) * weight

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = cos[:, None], sin[:, None]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).type_as(x)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        if self.row_tile is None:
            return F.silu(gate) * up
        # F.silu rounds the last elements of a buffer otherwise than the rest; exp and division do not.
        wide = gate.float()
        return (wide / (1 + torch.exp(-wide)) * up.float()).type_as(up)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, window: int | None) -> Tensor:
        return packed_attention(q, k, v, positions, window)

    def paged_attention(self, q: Tensor, k_pages: Tensor, v_pages: Tensor, tiles: QueryTiles, window: int | None) -> Tensor:
        group = [
            _attend(q, k_pages, v_pages, tiles, slice(i, i + _TILE_GROUP), window) for i in range(0, len(tiles.rows), _TILE_GROUP)
        ]
        return torch.cat(group)[tiles.owner, tiles.offset].type_as(q)


def _attend(q: Tensor, k_pages: Tensor, v_pages: Tensor, tiles: QueryTiles, part: slice, window: int | None) -> Tensor:
    """Attention of some tiles, `[tiles, Q, H, D]` in fp32: an online softmax over blocks, in the order of positions.

    A block that a query does not see at all leaves its running sums as they were, bit for bit; so tiles may walk more
    blocks than they need, and the keys they see are added up alike in every batch. Operands are made contiguous because
    a matrix product may round otherwise for another layout, and one tile alone would be a view where several are a copy.
    """
    kv_heads, channels = k_pages.shape[2:]
    positions, blocks, pages = tiles.positions[part], tiles.blocks[part], tiles.pages[part]
    per_kv = q.shape[1] // kv_heads
    shape = (len(positions), QUERY_TILE, kv_heads, per_kv)
    queries = q[tiles.rows[part]].float().view(*shape, channels).permute(0, 2, 1, 3, 4).flatten(2, 3)
    queries = queries.contiguous() * channels**-0.5
    top = queries.new_full((*queries.shape[:-1], 1), _LOWEST)
    total, out = torch.zeros_like(top), torch.zeros_like(queries)
    within = torch.arange(tiles.block_tokens, device=q.device)
    for step in range(blocks.shape[1]):
        keys, values = (x[pages[:, step]].flatten(1, 2).float().transpose(1, 2).contiguous() for x in (k_pages, v_pages))
        key_positions = blocks[:, step, None] * tiles.block_tokens + within
        seen = visible(positions[:, :, None], key_positions[:, None], window).repeat_interleave(per_kv, 1)[:, None]
        scores = (queries @ keys.transpose(-1, -2)).masked_fill(~seen, float("-inf"))
        # Weight 0 times what a page held before, perhaps another sequence's infinity, must be 0.
        values = values.masked_fill(~seen.any(2)[..., None], 0.0)
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        fade, weights = torch.exp(top - higher), torch.exp(scores - higher)
        total = total * fade + weights.sum(-1, keepdim=True)
        out = out * fade + weights @ values
        top = higher
    averaged: Tensor = out / total.clamp(min=torch.finfo(total.dtype).tiny)
    by_query: Tensor = averaged.unflatten(2, (QUERY_TILE, per_kv)).permute(0, 2, 1, 3, 4)
    return by_query.flatten(2, 3)

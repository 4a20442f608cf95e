"""The reference room: plain torch, any device. Slow where it must be to give a row the same bits in any batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.kernels.cache import Pages, quantized
from mistral7b.kernels.interface import LowRank, PackedWeight, visible
from mistral7b.kernels.packed import PackedPlan, packed_attention
from mistral7b.kernels.tiles import PRODUCT_QUERIES, QueryTiles

# A finite stand-in for minus infinity: exp(masked - running maximum) is 0 and never NaN while a row has seen no key.
_LOWEST = -1e30
# Bytes of keys gathered at once: what one core's cache holds, as they are read again for every product.
_GATHERED_BYTES = 1 << 20


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

    def packed_linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        return self.linear(x, weight.dense(x.dtype))

    def low_rank(self, out: Tensor, x: Tensor, weights: LowRank, adapters: Tensor) -> Tensor:
        inner = (self.linear(x.to(weights.a.dtype), weights.a) * weights.scales[adapters]).to(weights.b.dtype)
        return out + self.linear(inner, weights.b.t()).to(out.dtype)

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

    def plan_packed(self, positions: Tensor, window: int | None, device: torch.device) -> object:
        return PackedPlan.of(positions, window, device)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, plan: object) -> Tensor:
        assert isinstance(plan, PackedPlan), "a plan of this room"
        return packed_attention(q, k, v, plan)

    def write(self, x: Tensor, pages: Pages, slots: Tensor) -> None:
        if pages.scales is None:
            pages.numbers.flatten(0, 1)[slots] = x.to(pages.numbers.dtype)
        else:
            pages.numbers.flatten(0, 1)[slots], pages.scales.flatten(0, 1)[slots] = quantized(x)

    def plan(
        self, positions: Tensor, borders: Tensor, tables: Tensor, page_tokens: int, window: int | None, device: torch.device
    ) -> object:
        return QueryTiles.cut(positions, borders, tables, page_tokens, window).to(device)

    def paged_attention(self, q: Tensor, k: Pages, v: Pages, plan: object) -> Tensor:
        assert isinstance(plan, QueryTiles), "a plan of this room"
        heads, channels = q.shape[1:]
        out = q.new_zeros((*plan.rows.shape, heads, channels))
        most = max(1, _GATHERED_BYTES // (plan.block_tokens * k.numbers.shape[2] * channels * 4))
        for part in _groups(plan.filled, most):
            out[part, : plan.filled[part.start]] = _attend(q, k, v, plan, part).type_as(q)
        return out[plan.owner, plan.offset]


def _groups(filled: tuple[int, ...], most: int) -> Iterator[slice]:
    """Runs of at most `most` tiles that hold equally many queries."""
    start = 0
    for end in range(1, len(filled) + 1):
        if end == len(filled) or end - start == most or filled[end] != filled[start]:
            yield slice(start, end)
            start = end


def _attend(q: Tensor, k: Pages, v: Pages, tiles: QueryTiles, part: slice) -> Tensor:
    """Attention of some equally filled tiles, `[I, filled, H, D]` in fp32: an online softmax over blocks, by position.

    A block that a query does not see at all leaves its running sums as they were, bit for bit; so tiles may walk more
    blocks than they need, and the keys they see are added up alike in every batch. Keys are gathered once a tile, but every
    matrix product is of PRODUCT_QUERIES queries with contiguous operands: for another shape or layout it may round otherwise.
    """
    kv_heads, channels = k.numbers.shape[2:]
    filled, walked = tiles.filled[part.start], max(tiles.walked[part])
    positions, blocks, pages = tiles.positions[part, :filled], tiles.blocks[part], tiles.pages[part]
    per_kv = q.shape[1] // kv_heads
    shape = (len(positions), filled // PRODUCT_QUERIES, PRODUCT_QUERIES, kv_heads, per_kv, channels)
    queries = q[tiles.rows[part, :filled]].float().view(shape).permute(1, 0, 3, 2, 4, 5).flatten(3, 4)
    queries = queries.contiguous() * channels**-0.5  # [products, I, G, queries x heads, D]
    query_positions = positions.view(shape[:3]).transpose(0, 1)[..., None]
    top = queries.new_full((*queries.shape[:-1], 1), _LOWEST)
    total, out = torch.zeros_like(top), torch.zeros_like(queries)
    within = torch.arange(tiles.block_tokens, device=q.device)
    for step in range(walked):
        keys, values = (_gathered(x, pages[:, step]) for x in (k, v))
        key_positions = blocks[:, step, None] * tiles.block_tokens + within
        seen = visible(query_positions, key_positions[:, None], tiles.window).repeat_interleave(per_kv, 2)[:, :, None]
        scores = _products(queries, keys.transpose(-1, -2)).masked_fill(~seen, float("-inf"))
        # Weight 0 times what a page held before, perhaps another sequence's infinity, must be 0.
        values = values.masked_fill(~seen.any(3).any(0)[..., None], 0.0)
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        fade, weights = torch.exp(top - higher), torch.exp(scores - higher)
        total = total * fade + weights.sum(-1, keepdim=True)
        out = out * fade + _products(weights, values)
        top = higher
    averaged: Tensor = out / total.clamp(min=torch.finfo(total.dtype).tiny)
    by_query: Tensor = averaged.unflatten(3, (PRODUCT_QUERIES, per_kv)).permute(1, 0, 3, 2, 4, 5)
    return by_query.reshape(len(positions), filled, q.shape[1], channels)


def _gathered(cache: Pages, pages: Tensor) -> Tensor:
    """One block of keys or values for each of I tiles, fp32 `[I, G, block, D]`, in memory in this order."""
    numbers = cache.numbers[pages].flatten(1, 2).transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    if cache.scales is None:
        return numbers
    return numbers * cache.scales[pages].flatten(1, 2).transpose(1, 2)[..., None]


def _products(rows: Tensor, matrices: Tensor) -> Tensor:
    """`rows` `[products, I, G, m, n]` times `matrices` `[I, G, n, k]`, one product after the other."""
    return torch.stack([each @ matrices for each in rows])

"""Query tiles: a ragged batch cut into pieces of fixed shape, so that a row's bits do not depend on its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

QUERY_TILE = 32  # queries that share one gathering of keys
PRODUCT_QUERIES = 2  # queries of one matrix product: fixed, so that a lone decode row rounds as it does within a prompt
BLOCK_TOKENS = 128


@dataclass(frozen=True)
class QueryTiles:
    """I tiles of Q queries, at most QUERY_TILE; each tile belongs to one sequence and walks B blocks of keys.

    `rows` `[I, Q]` are rows of the batch (0 where the tile is short), `positions` `[I, Q]` their positions (-1 where
    short), `blocks` `[I, B]` the absolute number of each block of `block_tokens` keys, `pages` `[I, B, block / P]` the
    physical pages behind it. `owner` `[T]` and `offset` `[T]` say in which tile, and where in it, each row stands.

    `filled` and `walked` are a tile's own share of that: its queries, rounded up to a multiple of PRODUCT_QUERIES, and the
    blocks that any of them sees.

    Blocks begin at multiples of `block_tokens` counted from position 0, whatever chunk a query came in: the order in
    which a row's keys are added up is a function of its position alone.
    """

    rows: Tensor
    positions: Tensor
    blocks: Tensor
    pages: Tensor
    owner: Tensor
    offset: Tensor
    block_tokens: int
    filled: tuple[int, ...]
    walked: tuple[int, ...]
    window: int | None

    @classmethod
    def cut(cls, positions: Tensor, borders: Tensor, tables: Tensor, page_tokens: int, window: int | None) -> QueryTiles:
        """Tiles for flat `positions` `[T]`, sequence `borders` `[S + 1]` and page `tables` `[S, R]`, all on the CPU."""
        lengths = borders.diff()
        per_sequence = (lengths + QUERY_TILE - 1) // QUERY_TILE
        sequence = torch.repeat_interleave(per_sequence)
        first_tile = torch.cumsum(per_sequence, 0) - per_sequence
        start = borders[:-1][sequence] + (torch.arange(len(sequence)) - first_tile[sequence]) * QUERY_TILE
        rows = start[:, None] + torch.arange(QUERY_TILE)
        inside = rows < borders[1:][sequence][:, None]
        filled = (-(-inside.sum(1) // PRODUCT_QUERIES) * PRODUCT_QUERIES).tolist()
        rows, inside = rows[:, : max(filled)], inside[:, : max(filled)]
        tile_positions = torch.where(inside, positions[rows.clamp(max=len(positions) - 1)], -1)
        block = page_tokens * max(1, BLOCK_TOKENS // page_tokens)
        oldest = torch.zeros_like(start) if window is None else (tile_positions[:, 0] - window + 1).clamp(min=0)
        first = oldest // block
        walked = (tile_positions.amax(1) // block - first + 1).tolist()
        blocks = first[:, None] + torch.arange(max(walked))
        logical = blocks[..., None] * (block // page_tokens) + torch.arange(block // page_tokens)
        pages = tables[sequence[:, None, None], logical % tables.shape[1]]
        row = torch.arange(len(positions))
        row_sequence = torch.repeat_interleave(lengths)
        within = row - borders[:-1][row_sequence]
        return cls(
            rows=torch.where(inside, rows, 0),
            positions=tile_positions,
            blocks=blocks,
            pages=pages,
            owner=first_tile[row_sequence] + within // QUERY_TILE,
            offset=within % QUERY_TILE,
            block_tokens=block,
            filled=tuple(filled),
            walked=tuple(walked),
            window=window,
        )

    def to(self, device: torch.device) -> QueryTiles:
        """The same tiles on another device."""
        names = ("rows", "positions", "blocks", "pages", "owner", "offset")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

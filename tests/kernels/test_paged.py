"""paged_attention at the 7B's head shape: the dense oracle's values, and bits that do not depend on the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mistral7b.kernels.cache import Pages
from mistral7b.kernels.tiles import PRODUCT_QUERIES, QUERY_TILE, QueryTiles
from mistral7b.kernels.torch_room import TorchKernels
from tests.equivalence import oracle

ROWS = 300
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}  # on values of about 1; bf16 rounds the result


def _paged(q: Tensor, k: Tensor, v: Tensor, pages: Tensor, pieces: list[tuple[int, int]], window: int | None) -> Tensor:
    """Rows `pieces` of one sequence, each as a sequence of its own in one batch, over the same page table `[R]`."""
    positions = torch.cat([torch.arange(*piece) for piece in pieces])
    borders = torch.tensor([0, *(end - start for start, end in pieces)]).cumsum(0)
    tiles = QueryTiles.cut(positions, borders, pages.expand(len(pieces), -1), k.shape[1], window)
    return TorchKernels().paged_attention(q[positions], Pages(k), Pages(v), tiles)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "channels", "page_tokens", "window", "dtype"),
    [
        (32, 8, 128, 64, 200, torch.float32),
        (32, 8, 128, 64, None, torch.bfloat16),
        (6, 1, 10, 16, 50, torch.float32),
        (4, 4, 24, 3, 20, torch.bfloat16),
    ],
)
def test_values_and_bits(
    heads: int, kv_heads: int, channels: int, page_tokens: int, window: int | None, dtype: torch.dtype, threads: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    n_pages = -(-ROWS // page_tokens)
    pages = torch.randperm(n_pages, generator=generator)
    q = torch.randn(ROWS, heads, channels, generator=generator).to(dtype)
    k, v = (torch.randn(n_pages, page_tokens, kv_heads, channels, generator=generator).to(dtype) for _ in "kv")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = _paged(q, k, v, pages, [(0, ROWS)], window)
        keys, values = (x[pages].flatten(0, 1)[:ROWS].double() for x in (k, v))
        expected = oracle.attention(q.double(), keys, values, oracle.mask(ROWS, window))
        torch.testing.assert_close(whole.double(), expected, atol=TOLERANCE[dtype], rtol=0)
        for pieces in ([(0, 1)], [(ROWS - 1, ROWS)], [(i, i + 1) for i in range(240, 280)], [(9, 70), (250, 263), (64, 65)]):
            rows = torch.cat([torch.arange(*piece) for piece in pieces])
            assert torch.equal(_paged(q, k, v, pages, pieces, window), whole[rows]), pieces[0]
    finally:
        torch.set_num_threads(before)


def test_tiles_by_hand() -> None:
    """Two sequences, 10 tokens from position 300 and 1 from position 2; P = 64, W = 100, so blocks of 128 keys."""
    positions = torch.tensor([*range(300, 310), 2])
    tables = torch.tensor([[4, 5, 6], [7, 0, 0]])
    cut = QueryTiles.cut(positions, torch.tensor([0, 10, 11]), tables, 64, 100)
    assert (QUERY_TILE, PRODUCT_QUERIES) == (32, 2)
    assert cut.block_tokens == 128
    assert cut.rows.tolist() == [[*range(10)], [10] + [0] * 9], "no wider than the fullest tile"
    assert cut.positions.tolist() == [[*range(300, 310)], [2] + [-1] * 9]
    assert cut.blocks.tolist() == [[1, 2], [0, 1]], "position 300 sees 201, in block 1"
    # Logical pages 2 3 and 4 5, 0 1 and 2 3, of a ring of three slots.
    assert cut.pages.tolist() == [[[6, 4], [5, 6]], [[7, 0], [0, 7]]]
    assert cut.filled == (10, 2), "whole products"
    assert cut.walked == (2, 1), "position 2 sees nothing of block 1"
    assert cut.owner.tolist() == [0] * 10 + [1]
    assert cut.offset.tolist() == [*range(10), 0]

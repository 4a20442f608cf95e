"""Native paged attention: the torch room's values within a bound, and the same bits for a row however it is computed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.kernels.cache import Pages
from mistral7b.kernels.torch_room import TorchKernels
from tests.equivalence import oracle
from tests.kernels.native import SETS, needs_native, room

pytestmark = needs_native

TORCH = TorchKernels()
# On values of about 1. The result is rounded to its type; an int8 cache also rounds queries and weights to 16 bits.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}
INT8 = 5e-4
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One sequence of `length` tokens in pages of `page_tokens`, scattered over a cache whose other slots hold NaN."""

    heads: int
    kv_heads: int
    channels: int
    page_tokens: int
    window: int | None
    dtype: torch.dtype
    cached: torch.dtype
    length: int

    def drawn(self, seed: int = 0) -> tuple[Tensor, Pages, Pages, Tensor]:
        """Queries `[length, H, D]`, the pages of keys and of values, and the page table."""
        generator = torch.Generator().manual_seed(seed)
        n_pages = -(-self.length // self.page_tokens)
        table = torch.randperm(n_pages + 2, generator=generator)[:n_pages]
        slots = (table[:, None] * self.page_tokens + torch.arange(self.page_tokens)).flatten()[: self.length]
        q = torch.randn(self.length, self.heads, self.channels, generator=generator).to(self.dtype)
        k, v = (self._pages(torch.randn(self.length, self.kv_heads, self.channels, generator=generator), slots) for _ in "kv")
        return q, k, v, table

    def _pages(self, x: Tensor, slots: Tensor) -> Pages:
        shape = (-(-self.length // self.page_tokens) + 2, self.page_tokens, self.kv_heads, self.channels)
        if self.cached == torch.int8:
            pages = Pages(torch.full(shape, -128, dtype=torch.int8), torch.full(shape[:-1], torch.nan))
        else:
            pages = Pages(torch.full(shape, torch.nan, dtype=self.cached))
        TORCH.write(x.to(self.dtype), pages, slots)
        return pages


def attend(kernels: TorchKernels, case: Case, pieces: list[tuple[int, int]]) -> Tensor:
    """Rows `pieces` of the sequence, each as a sequence of its own in one batch."""
    q, k, v, table = case.drawn()
    positions = torch.cat([torch.arange(*piece) for piece in pieces])
    borders = torch.tensor([0, *(end - start for start, end in pieces)]).cumsum(0)
    tables = table.expand(len(pieces), -1)
    plan = kernels.plan(positions, borders, tables, case.page_tokens, case.window, CPU)
    return kernels.paged_attention(q[positions], k, v, plan)


CASES = st.builds(
    lambda kv_heads, ratio, **rest: Case(heads=kv_heads * ratio, kv_heads=kv_heads, **rest),
    kv_heads=st.integers(1, 3),
    ratio=st.sampled_from([1, 2, 3, 4, 7]),
    channels=st.sampled_from([2, 8, 16, 20, 32, 48, 64, 128]),
    page_tokens=st.sampled_from([1, 2, 3, 16, 48, 64, 200]),
    window=st.sampled_from([1, 2, 17, 50, 127, 128, 129, 200, None]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    cached=st.sampled_from([torch.float32, torch.bfloat16, torch.int8]),
    length=st.integers(1, 300),
)
PAPER = Case(32, 8, 128, 64, 200, torch.bfloat16, torch.bfloat16, 300)


@settings(max_examples=60)
@given(case=CASES, cuts=st.lists(st.integers(1, 299), max_size=12), threads=st.sampled_from([1, 3]))
@example(case=PAPER, cuts=[1, 2, 10, 138, 139], threads=3)
@example(case=Case(32, 8, 128, 64, None, torch.bfloat16, torch.int8, 300), cuts=[128, 136, 145], threads=1)
@example(case=Case(5, 5, 20, 3, 129, torch.float32, torch.int8, 290), cuts=[255, 256, 257], threads=3)
def test_values_and_bits(case: Case, cuts: list[int], threads: int) -> None:
    """Whole against the torch room; in pieces, token by token and on every instruction set against whole."""
    whole = attend(room(SETS[0], threads), case, [(0, case.length)])
    expected = attend(TORCH, case, [(0, case.length)])
    bound = TOLERANCE[case.dtype] + INT8 * (case.cached == torch.int8)
    torch.testing.assert_close(whole.float(), expected.float(), atol=bound, rtol=0)
    borders = sorted({0, case.length, *(cut for cut in cuts if cut < case.length)})
    pieces = list(itertools.pairwise(borders))
    for name in SETS:
        assert torch.equal(attend(room(name, 1), case, pieces), whole), f"in pieces, on {name}"
    ends = [(row, row + 1) for row in range(max(0, case.length - 20), case.length)]
    assert torch.equal(attend(room(SETS[0], threads), case, ends), whole[-20:]), "token by token"


@pytest.mark.parametrize("cached", [torch.float32, torch.bfloat16, torch.int8])
def test_the_plain_formula(cached: torch.dtype) -> None:
    """Against attention written out densely in float64, over what the cache holds."""
    case = Case(8, 2, 64, 16, 150, torch.float32, cached, 300)
    q, k, v, table = case.drawn()
    held = [
        (pages.numbers.double() * (1 if pages.scales is None else pages.scales[..., None]))[table].flatten(0, 1)[:300]
        for pages in (k, v)
    ]
    expected = oracle.attention(q.double(), *held, oracle.mask(300, 150))
    bound = INT8 if cached == torch.int8 else TOLERANCE[torch.float32]
    torch.testing.assert_close(attend(room(SETS[0]), case, [(0, 300)]).double(), expected, atol=bound, rtol=0)


@settings(max_examples=30)
@given(
    window=st.integers(1, 200),
    page_tokens=st.sampled_from([1, 3, 16, 64]),
    cached=st.sampled_from([torch.bfloat16, torch.int8]),
    start=st.integers(0, 500),
    queries=st.integers(1, 70),
)
def test_a_ring_that_has_wrapped(window: int, page_tokens: int, cached: torch.dtype, start: int, queries: int) -> None:
    """A table of just as many slots as the window needs gives what a table of all pages gives."""
    case = Case(4, 2, 16, page_tokens, window, torch.float32, cached, start + queries)
    q, k, v, table = case.drawn()
    slots = -(-(window + queries - 1) // page_tokens) + 1
    oldest = max(0, start - window + 1) // page_tokens
    ring = torch.full((slots,), 10**6)  # a page that no cache has: it may not be asked for
    for page in range(oldest, len(table)):
        ring[page % slots] = table[page]
    positions, borders = torch.arange(start, start + queries), torch.tensor([0, queries])
    outs = []
    for pages in (table, ring):
        plan = room(SETS[0]).plan(positions, borders, pages[None], page_tokens, window, CPU)
        outs.append(room(SETS[0]).paged_attention(q[positions], k, v, plan))
    assert torch.equal(*outs)


def test_a_page_the_cache_does_not_have_is_our_mistake() -> None:
    q, k, v, _ = PAPER.drawn()
    plan = room(SETS[0]).plan(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([[99]]), 64, None, CPU)
    with pytest.raises(IndexError, match="page table"):
        room(SETS[0]).paged_attention(q[:1], k, v, plan)


@pytest.mark.parametrize("cached", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("queries", [1, 40])
def test_what_is_not_finite_shows_where_it_is_seen(cached: torch.dtype, bad: float, queries: int) -> None:
    """A key that overflowed spoils the rows that see it, and no row of another sequence."""
    x = torch.randn(100, 1, 16)
    x[50, 0, 3] = bad
    shape = (7, 16, 1, 16)
    numbers = torch.zeros(shape, dtype=cached)
    k = Pages(numbers, torch.zeros(shape[:-1]) if cached == torch.int8 else None)
    v = Pages(numbers.clone(), torch.zeros(shape[:-1]) if cached == torch.int8 else None)
    room(SETS[0]).write(x, k, torch.arange(100))
    room(SETS[0]).write(torch.randn(100, 1, 16), v, torch.arange(100))
    positions = torch.cat((torch.arange(100 - queries, 100), torch.arange(40, 50)))
    plan = room(SETS[0]).plan(positions, torch.tensor([0, queries, queries + 10]), torch.arange(7).expand(2, -1), 16, None, CPU)
    out = room(SETS[0]).paged_attention(torch.ones(queries + 10, 2, 16), k, v, plan)
    assert bool(out[:queries].isnan().any(-1).all())
    assert bool(out[queries:].isfinite().all())

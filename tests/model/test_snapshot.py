"""Snapshots: a sequence that goes on from one gets the bits of a sequence that never stopped."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import NULL_PAGE, PagePool, PageRing, ring_slots
from mistral7b.model.snapshot import KVState, first_kept, put, take
from mistral7b.model.transformer import Transformer
from tests.equivalence.networks import network, random_ids, small

LENGTH = 48
IDS = random_ids(LENGTH)
WINDOWS = (1, 2, 5, 8, None)
# By window and type of the cache: the network's own, or int8 beside a network in fp32.
CACHES = (torch.float32, torch.bfloat16, torch.int8)
NETWORKS = {
    (window, cached): network(small(n_layers=1, sliding_window=window), dtype=torch.float32 if cached == torch.int8 else cached)
    for window in WINDOWS
    for cached in CACHES
}


def dirty(model: Transformer, n_pages: int, page_tokens: int, cached: torch.dtype | None) -> PagePool:
    """A pool in which others have left the worst there is, and whose free pages come in no order."""
    pool = PagePool(model.config, n_pages, page_tokens=page_tokens, dtype=cached or model.dtype)
    for held in pool.held:
        held.fill_(-128 if held.dtype == torch.int8 else float("nan"))
    lent = [pool.take() for _ in range(n_pages)]
    for page in [*lent[1::2], *lent[::2]]:
        pool.give_back(page)
    return pool


def run(model: Transformer, pool: PagePool, ring: PageRing, start: int, end: int, chunk: int) -> Tensor:
    """Logits of the positions from `start` to `end`, in chunks."""
    rows = []
    for at in range(start, end, chunk):
        to = min(at + chunk, end)
        ring.extend(to)
        rows.append(model(TokenBatch.pack([Span(IDS[at:to], at, ring.table, "all")]), pool))
        ring.retire(to)
    return torch.cat(rows)


def fresh(
    model: Transformer, page_tokens: int, chunk: int, spare: int = 0, cached: torch.dtype | None = None
) -> tuple[PagePool, PageRing]:
    window = model.config.sliding_window
    slots = ring_slots(window, chunk, page_tokens, LENGTH) + spare
    pool = dirty(model, slots + 3, page_tokens, cached)
    return pool, PageRing(pool, slots, window)


@given(
    window=st.sampled_from(WINDOWS), cached=st.sampled_from(CACHES), stop=st.integers(1, LENGTH - 1),
    pages=st.tuples(st.integers(1, 12), st.integers(1, 12)), chunks=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    spare=st.integers(0, 3),
)  # fmt: skip
@example(window=8, cached=torch.float32, stop=40, pages=(4, 4), chunks=(1, 1), spare=0)  # as in the paper: i at i mod W
@example(window=1, cached=torch.float32, stop=8, pages=(4, 4), chunks=(3, 3), spare=0)  # nothing is kept
@example(window=1, cached=torch.float32, stop=9, pages=(4, 3), chunks=(3, 3), spare=0)
@example(window=None, cached=torch.bfloat16, stop=47, pages=(7, 3), chunks=(20, 1), spare=0)
def test_going_on_gives_the_bits_of_never_having_stopped(
    window: int | None, cached: torch.dtype, stop: int, pages: tuple[int, int], chunks: tuple[int, int], spare: int
) -> None:
    model = NETWORKS[window, cached]
    pool, ring = fresh(model, pages[0], chunks[0], cached=cached)
    run(model, pool, ring, 0, stop, chunks[0])
    state = take(pool, ring, IDS[:stop], window)
    assert state.k.shape[1] == (stop if window is None else min(stop, window - 1))
    never_stopped = run(model, pool, ring, stop, LENGTH, chunks[0])

    other, back = fresh(model, pages[1], chunks[1], spare, cached)
    held = other.n_pages - other.n_free
    put(other, back, state)
    for copied, kept in zip(take(other, back, IDS[:stop], window).held, state.held, strict=True):
        assert torch.equal(copied.view(torch.int8), kept.view(torch.int8))
    went_on = run(model, other, back, stop, LENGTH, chunks[1])
    assert torch.equal(went_on, never_stopped)
    assert bool(went_on.isfinite().all())
    back.release()
    assert other.n_pages - other.n_free == held, "every page is back"


@given(window=st.integers(1, 30), page_tokens=st.integers(1, 12), chunk=st.integers(1, 40), length=st.integers(1, 200))
def test_put_leaves_the_ring_as_it_was(window: int, page_tokens: int, chunk: int, length: int) -> None:
    """As many pages as the one that never stopped, at the same places, and none more on the way: a full pool is enough."""
    config = small(n_layers=1, sliding_window=window)
    slots = ring_slots(window, chunk, page_tokens, 300)
    pool = PagePool(config, slots, page_tokens=page_tokens)
    ring = PageRing(pool, slots, window)
    for end in [*range(chunk, length, chunk), length]:
        ring.extend(end)
        ring.retire(end)
    state = take(pool, ring, range(length), window)
    exact = PagePool(config, ring.n_held, page_tokens=page_tokens)
    back = PageRing(exact, slots, window)
    put(exact, back, state)
    assert [page != NULL_PAGE for page in back.table] == [page != NULL_PAGE for page in ring.table]
    assert (back._first, back._end, back._oldest_seen) == (ring._first, ring._end, ring._oldest_seen)


@given(window=st.sampled_from(WINDOWS), length=st.integers(1, 30), shorter=st.integers(0, 30))
def test_a_state_is_cut_where_nothing_is_missing(window: int | None, length: int, shorter: int) -> None:
    model = NETWORKS[window, torch.float32]
    shorter = min(shorter, length)
    pool, ring = fresh(model, 4, 6)
    run(model, pool, ring, 0, length, 6)
    cut = take(pool, ring, IDS[:length], window).cut(shorter, window)
    if window is not None and window > 1 and 0 < shorter < length and length >= window:
        assert cut is None
        return
    assert cut is not None
    other, back = fresh(model, 3, 5)
    put(other, back, cut)
    pool, ring = fresh(model, 4, 6)
    assert torch.equal(run(model, other, back, shorter, LENGTH, 5), run(model, pool, ring, 0, LENGTH, 6)[shorter:])


def test_past_the_window_a_state_no_longer_grows() -> None:
    model = NETWORKS[8, torch.bfloat16]
    pool, ring = fresh(model, 4, 1)
    sizes = []
    for i in range(LENGTH):
        run(model, pool, ring, i, i + 1, 1)
        sizes.append(take(pool, ring, IDS[: i + 1], 8).n_bytes)
    token = 2 * model.config.n_kv_heads * model.config.head_dim * 2  # keys and values of one layer, bf16
    assert sizes == [min(i + 1, 7) * token for i in range(LENGTH)]


def test_a_state_is_a_copy() -> None:
    model = NETWORKS[None, torch.float32]
    pool, ring = fresh(model, 4, 1)
    run(model, pool, ring, 0, 4, 1)
    state = take(pool, ring, IDS[:4], None)
    before = state.k.clone()
    pool.k.fill_(0)
    assert torch.equal(state.k, before)


def test_first_kept() -> None:
    assert [first_kept(n, 4) for n in (0, 3, 4, 9)] == [0, 0, 1, 6]
    assert [first_kept(n, 1) for n in (0, 3)] == [0, 3]
    assert first_kept(9, None) == 0


def test_what_no_cache_can_be_is_our_mistake() -> None:
    k = torch.zeros(1, 2, 1, 4)
    for ids, first, keys, values in [((1, 2), 1, k, k), ((1, 2), 3, k, k), ((1, 2), 0, k, k[..., :2]), ((1, 2), 0, k, k.half())]:
        with pytest.raises(AssertionError):
            KVState(ids, first, keys, values)
    pool = PagePool(small(n_layers=1, n_kv_heads=1, head_dim=4, n_heads=1, dim=4), 4, page_tokens=4, dtype=torch.bfloat16)
    state = KVState((1, 2), 0, k, k)
    with pytest.raises(AssertionError, match="in the type it was taken in"):
        put(pool, PageRing(pool, 2, 8), state)
    ring = PageRing(pool, 2, None)
    with pytest.raises(AssertionError, match="still seen"):
        take(pool, ring, (1, 2), None)

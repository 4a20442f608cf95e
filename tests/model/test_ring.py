"""The rolling cache's bookkeeping: where position i stands, how much memory is held, and that it never grows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import NULL_PAGE, OutOfPages, PagePool, PageRing, ring_slots
from mistral7b.variants import V01
from tests.equivalence import oracle
from tests.equivalence.networks import network, random_ids, small, weights

CONTEXT = 32_768


@pytest.mark.parametrize(("window", "page_tokens"), [(8, 1), (8, 2), (8, 4), (8, 8), (12, 3), (1, 1)])
def test_position_i_is_stored_at_i_mod_w(window: int, page_tokens: int) -> None:
    """With P dividing W and one-token steps, as in the paper: slots of a fresh pool, from its first lendable page on."""
    model = network(small(n_layers=1, sliding_window=window))
    ids = random_ids(5 * window + 3)
    pool = PagePool(model.config, window // page_tokens, page_tokens=page_tokens)
    ring = PageRing(pool, ring_slots(window, 1, page_tokens, len(ids)), window)
    assert len(ring.table) == window // page_tokens
    embedded = weights(model)["tok_embeddings.weight"][ids].double()
    normed = embedded / (embedded.square().mean(-1, keepdim=True) + model.config.norm_eps).sqrt()
    normed = normed * weights(model)["layers.0.attention_norm.weight"]
    keys, values = (
        (normed @ weights(model)[f"layers.0.attention.{w}.weight"].double().T).unflatten(-1, (-1, model.config.head_dim))
        for w in ("wk", "wv")
    )
    keys = oracle.rotate(keys, torch.arange(len(ids)), model.config.rope_theta)
    for i, token in enumerate(ids):
        ring.extend(i + 1)
        batch = TokenBatch.pack([Span([token], i, ring.table)])
        assert pool.slots(batch).tolist() == [page_tokens + i % window], "the first lendable page is page 1"
        model(batch, pool)
        ring.retire(i + 1)
        stored_k, stored_v = (pages[0, 1:].flatten(0, 1) for pages in (pool.k, pool.v))
        for j in range(max(0, i - window + 1), i + 1):
            assert (stored_k[j % window] - keys[j]).abs().max() < 1e-5
            assert (stored_v[j % window] - values[j]).abs().max() < 1e-5


def test_a_wrap_by_hand() -> None:
    """W = 4, P = 2, one-token steps: R = 2 pages; position 4 is written over position 0, in the page that held 0 and 1."""
    pool = PagePool(small(sliding_window=4), 3, page_tokens=2)
    ring = PageRing(pool, ring_slots(4, 1, 2, 100), 4)
    tables = []
    for i in range(7):
        ring.extend(i + 1)
        tables.append(list(ring.table))
        ring.retire(i + 1)
    assert tables == [[1, 0], [1, 0], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]


def test_pages_out_of_sight_go_back() -> None:
    """W = 4, P = 2, a chunk of 9: afterwards position 9 sees 6, 7, 8, so pages 0 to 2 go and pages 3 and 4 stay."""
    pool = PagePool(small(sliding_window=4), 8, page_tokens=2)
    ring = PageRing(pool, ring_slots(4, 9, 2, 100), 4)
    ring.extend(9)
    assert ring.table == [1, 2, 3, 4, 5, 0]
    ring.retire(9)
    assert ring.table == [NULL_PAGE, NULL_PAGE, NULL_PAGE, 4, 5, NULL_PAGE]
    assert ring.n_held == 2
    assert pool.n_free == 6
    ring.release()
    assert pool.n_free == 8
    assert ring.table == [NULL_PAGE] * 6


@pytest.mark.parametrize(
    ("window", "chunk", "page_tokens", "max_len", "slots"),
    [
        (4096, 1, 64, CONTEXT, 64),
        (4096, 4096, 64, CONTEXT, 128),
        (4096, 2, 64, CONTEXT, 65),
        (4096, 4096, 64, 1000, 16),
        (5, 1, 3, 100, 2),
        (3, 1, 16, 100, 1),
        (1, 1, 1, 100, 1),
        (None, 4096, 64, CONTEXT, 512),
        (None, 1, 64, 65, 2),
    ],
)
def test_ring_slots(window: int | None, chunk: int, page_tokens: int, max_len: int, slots: int) -> None:
    assert ring_slots(window, chunk, page_tokens, max_len) == slots


def _seven_b(page_tokens: int, chunk: int) -> tuple[PagePool, PageRing]:
    """A pool at the 7B's shape that has no memory behind it, and a ring for the whole context."""
    pool = PagePool(V01, CONTEXT // page_tokens, page_tokens=page_tokens, dtype=torch.bfloat16, device="meta")
    return pool, PageRing(pool, ring_slots(V01.sliding_window, chunk, page_tokens, CONTEXT), V01.sliding_window)


@pytest.mark.parametrize("page_tokens", [16, 64, 256])
@pytest.mark.parametrize("chunk", [512, 4096, 6000])
def test_memory_at_the_7b_shape(page_tokens: int, chunk: int) -> None:
    """28,672 tokens in chunks, then 4,096 single ones: an eighth of the full cache, a chunk and a page more at most."""
    window = V01.sliding_window
    assert window == 4096
    pool, ring = _seven_b(page_tokens, chunk)
    token_bytes = 2 * V01.n_layers * V01.n_kv_heads * V01.head_dim * 2  # keys and values, bf16
    assert pool.bytes_per_page == page_tokens * token_bytes
    full = CONTEXT * token_bytes
    assert full == 4 * 2**30
    done = 0
    while done < CONTEXT:
        step = min(chunk, CONTEXT - window - done) if done < CONTEXT - window else 1
        ring.extend(done + step)
        assert ring.n_held <= (window + step) // page_tokens + 1
        assert ring.n_held * pool.bytes_per_page <= full // 8 + chunk * token_bytes + pool.bytes_per_page
        done += step
        ring.retire(done)
        assert ring.n_held * pool.bytes_per_page <= full // 8 + pool.bytes_per_page, "between steps, no chunk"
    assert ring.n_held + pool.n_free == pool.n_pages


def test_decode_holds_exactly_an_eighth() -> None:
    """One-token steps and P dividing W: W / P pages, from the first full window through eight of them, page for page the same."""
    pool, ring = _seven_b(64, 1)
    for i in range(CONTEXT):
        ring.extend(i + 1)
        assert ring.n_held == min(i // 64 + 1, 64)
        ring.retire(i + 1)
        if i == 4096:
            first = sorted(ring.table)
    assert sorted(ring.table) == first
    assert ring.n_held * pool.bytes_per_page * 8 == pool.n_pages * pool.bytes_per_page


@given(
    window=st.integers(1, 40),
    page_tokens=st.integers(1, 20),
    chunk=st.integers(1, 60),
    steps=st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_no_visible_position_is_ever_overwritten_or_lost(window: int, page_tokens: int, chunk: int, steps: list[int]) -> None:
    """Against a dictionary of physical places: what a step writes is never what one of its queries, or a later one, reads."""
    pool = PagePool(small(n_layers=1, sliding_window=window), 256, page_tokens=page_tokens, device="meta")
    ring = PageRing(pool, ring_slots(window, chunk, page_tokens, 10_000), window)
    place: dict[tuple[int, int], int] = {}  # (page, offset) -> the position written there last

    def where(position: int) -> tuple[int, int]:
        return ring.table[position // page_tokens % len(ring.table)], position % page_tokens

    done = 0
    for step in (min(step, chunk) for step in steps):
        ring.extend(done + step)
        for position in range(done, done + step):
            assert where(position)[0] != NULL_PAGE
            place[where(position)] = position
        for position in range(max(0, done - window + 1), done + step):
            assert place[where(position)] == position
        done += step
        ring.retire(done)
        partly = done % page_tokens != 0  # the newest page has room left, and is kept for what comes next
        kept = {where(position)[0] for position in range(max(0, done - window + 1), done + partly)}
        assert NULL_PAGE not in kept
        assert kept == set(ring.table) - {NULL_PAGE}, "a page that nobody will read is held"


def test_a_chunk_longer_than_the_ring_was_made_for_is_our_mistake() -> None:
    pool = PagePool(small(sliding_window=8), 8, page_tokens=4)
    ring = PageRing(pool, ring_slots(8, 5, 4, 100), 8)
    ring.extend(5)
    with pytest.raises(AssertionError, match="overwrite keys"):
        ring.extend(13)


def test_out_of_pages_keeps_what_it_has_and_goes_on_later() -> None:
    """Two sequences over three pages of 2: the second waits until the first has left, then holds what it needs, once."""
    pool = PagePool(small(sliding_window=None), 3, page_tokens=2)
    first, second = (PageRing(pool, ring_slots(None, 4, 2, 6), None) for _ in range(2))
    first.extend(4)
    with pytest.raises(OutOfPages):
        second.extend(5)
    assert (first.n_held, second.n_held, pool.n_free) == (2, 1, 0)
    first.release()
    second.extend(5)
    assert (second.n_held, pool.n_free) == (3, 0)
    second.release()
    assert sorted(pool.take() for _ in range(3)) == [1, 2, 3]


def test_a_page_of_int8_has_scales_that_travel_with_it() -> None:
    pool = PagePool(small(), 3, page_tokens=4, dtype=torch.int8)
    assert pool.bytes_per_page == 2 * 2 * 4 * 2 * (8 + 4), "2 kinds, 2 layers, 4 tokens, 2 heads of 8 numbers and a scale"
    for held in pool.held:
        held.zero_()
    page = pool.take()
    pool.hold(page)
    for number, held in enumerate(pool.held, start=1):
        held[:, page] = number
    copy = pool.writable(page)
    assert copy != page
    for number, held in enumerate(pool.held, start=1):
        assert bool((held[:, copy] == number).all())


@pytest.mark.parametrize("page", [NULL_PAGE, -1, 4])
def test_the_pool_takes_back_only_its_own(page: int) -> None:
    with pytest.raises(AssertionError):
        PagePool(small(), 3).give_back(page)


def test_a_token_without_a_page_is_our_mistake() -> None:
    pool = PagePool(small(), 3, page_tokens=4)
    ring = PageRing(pool, 2, 8)
    with pytest.raises(AssertionError, match="extend its ring first"):
        pool.slots(TokenBatch.pack([Span([1], 0, ring.table)]))
    with pytest.raises(AssertionError, match="no page tables"):
        pool.slots(TokenBatch.pack([Span([1])]))


@given(data=st.data())
def test_a_fork_has_what_later_queries_see_and_a_page_of_its_own_to_write(data: st.DataObject) -> None:
    window = data.draw(st.sampled_from([None, 1, 4, 7]))
    page_tokens, end = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 30))
    pool = PagePool(small(sliding_window=window), 60, page_tokens=page_tokens)
    pool.k.zero_()
    pool.v.zero_()
    ring = PageRing(pool, ring_slots(window, 30, page_tokens, 60), window)
    ring.extend(end)
    for logical, page in enumerate(ring.table[: -(-end // page_tokens)]):
        pool.k[:, page] = logical + 1
    ring.retire(end)
    fork = ring.fork(end)
    seen = 0 if window is None else max(0, end - window + 1)
    for logical in range(seen // page_tokens, -(-end // page_tokens)):
        theirs, own = ring.page(logical), fork.page(logical)
        assert theirs is not None
        assert own is not None
        begun = (logical + 1) * page_tokens > end
        assert (own != theirs) == begun
        assert torch.equal(pool.k[:, own], pool.k[:, theirs])
    fork.extend(end + 3)
    fork.retire(end + 3)
    fork.release()
    ring.release()
    assert pool.n_free == pool.n_pages


def test_a_fork_without_a_page_left_holds_nothing() -> None:
    pool = PagePool(small(sliding_window=None), 2, page_tokens=4)
    ring = PageRing(pool, 2, None)
    ring.extend(6)
    with pytest.raises(OutOfPages):
        ring.fork(6)
    ring.release()
    assert pool.n_free == 2

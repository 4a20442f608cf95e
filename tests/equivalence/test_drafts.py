"""A rejected draft needs no undoing: whatever was drafted, the run goes on as if nothing had been."""

from __future__ import annotations

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import NULL_PAGE, PagePool, PageRing, ring_slots
from tests.equivalence.crowd import alone
from tests.equivalence.networks import ROOMS, network, random_ids, room, small

LENGTH = 48
PROMPT = 6
ROUND = st.tuples(st.integers(0, 6), st.integers(0, 6))  # tokens drafted; how many of them are kept


@settings(max_examples=30)
@given(
    kernels=st.sampled_from(ROOMS),
    cached=st.sampled_from([torch.float32, torch.int8]),
    window=st.sampled_from([1, 2, 5, 8, None]),
    page_tokens=st.sampled_from([1, 2, 3, 4, 16]),
    rounds=st.lists(ROUND, min_size=1, max_size=24),
)
@example(kernels=ROOMS[-1], cached=torch.float32, window=8, page_tokens=4, rounds=[(6, 0)] * 24)
@example(kernels=ROOMS[-1], cached=torch.float32, window=5, page_tokens=3, rounds=[(6, 0), (0, 0), (5, 4)] * 8)
@example(kernels=ROOMS[-1], cached=torch.float32, window=1, page_tokens=1, rounds=[(6, 5)] * 8)
def test_rejected_drafts_leave_no_trace(
    kernels: str, cached: torch.dtype, window: int | None, page_tokens: int, rounds: list[tuple[int, int]]
) -> None:
    """Each round feeds one true token and k drafted ones in one forward, keeps some, and forgets the rest."""
    model = network(small(sliding_window=window), kernels=room(kernels))
    ids = random_ids(LENGTH)
    pool = PagePool(model.config, 64, page_tokens=page_tokens, dtype=cached)
    most = max(k for k, _ in rounds)
    ring = PageRing(pool, ring_slots(window, max(PROMPT, most + 1), page_tokens, LENGTH + most), window)

    def feed(tokens: list[int], start: int) -> torch.Tensor:
        ring.extend(start + len(tokens))
        logits: torch.Tensor = model(TokenBatch.pack([Span(tokens, start, ring.table, "all")]), pool)
        return logits

    kept = [feed(ids[:PROMPT], 0)]
    done = PROMPT
    ring.retire(done)
    for drafted, right in rounds:
        if done >= LENGTH:
            break
        right = min(right, drafted, LENGTH - done - 1)
        wrong = [(token + 1) % 64 for token in random_ids(drafted - right, seed=done)]
        kept.append(feed(ids[done : done + 1 + right] + wrong, done)[: 1 + right])
        done += 1 + right
        ring.retire(done)
        held = [page for page in ring.table if page != NULL_PAGE]
        assert len(held) == len(set(held)) == ring.n_held <= len(ring.table)
        assert len(held) + pool.n_free == pool.n_pages
    assert torch.equal(torch.cat(kept), alone(model, ids[:done], page_tokens=page_tokens, cached=cached))
    ring.release()
    assert pool.n_free == pool.n_pages

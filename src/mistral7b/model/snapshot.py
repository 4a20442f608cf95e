"""Snapshots: what a rolling cache still has of one sequence, taken out of the pool and put into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mistral7b.model.pages import NULL_PAGE, PagePool, PageRing


def first_kept(length: int, window: int | None) -> int:
    """The oldest position that the query at position `length`, or a later one, sees: W - 1 keys lie before its own."""
    return 0 if window is None else max(0, length - window + 1)


@dataclass(frozen=True, eq=False)
class KVState:
    """The cache of one sequence after `ids`, which stand at positions 0 to n - 1.

    `k` and `v` `[layers, n - first, KV heads, D]`, on the CPU in the pool's dtype, are of the positions from `first` on, whatever
    page they lay in; an int8 cache has scales, `[layers, n - first, KV heads]`. They depend on the ids alone: a sequence that
    goes on from here gets the bits of one that never stopped.
    """

    ids: tuple[int, ...]
    first: int
    k: Tensor
    v: Tensor
    k_scales: Tensor | None = None
    v_scales: Tensor | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.first <= len(self.ids), "the first position is one of the sequence, or its end"
        assert self.k.dim() == 4, "keys are [layers, positions, KV heads, D]"
        assert self.k.shape[1] == len(self.ids) - self.first, "a key for every position from the first on"
        assert self.k.shape == self.v.shape, "a value for every key"
        assert self.k.dtype == self.v.dtype, "keys and values are of one type"
        for scales in (self.k_scales, self.v_scales):
            assert (scales is not None) == (self.k.dtype == torch.int8), "int8 has scales, other types have none"
            assert scales is None or scales.shape == self.k.shape[:-1], "a scale for every token and head"

    @property
    def held(self) -> tuple[Tensor, ...]:
        """All there is of the cache, in the order of `PagePool.held`."""
        return tuple(each for each in (self.k, self.v, self.k_scales, self.v_scales) if each is not None)

    @property
    def n_bytes(self) -> int:
        """Bytes of the keys and values; past the window they no longer grow."""
        return sum(held.nbytes for held in self.held)

    def cut(self, length: int, window: int | None) -> KVState | None:
        """The state after the first `length` ids; None if the window has passed over keys that it would need."""
        assert length <= len(self.ids), "a state cannot be cut to more than it is"
        if length == len(self.ids):
            return self
        if (first := first_kept(length, window)) < min(self.first, length):
            return None
        # Both begin at position 0 then, or no key is seen at all.
        return KVState(self.ids[:length], first, *(held[:, : length - first] for held in self.held))


def take(pool: PagePool, ring: PageRing, ids: Sequence[int], window: int | None) -> KVState:
    """A copy of what the query at position `len(ids)`, or a later one, sees of the sequence in `ring`."""
    first = first_kept(len(ids), window)
    slots = _slots(pool, ring, first, len(ids))
    return KVState(tuple(ids), first, *(pages.flatten(1, 2).index_select(1, slots).cpu() for pages in pool.held))


def put(pool: PagePool, ring: PageRing, state: KVState) -> None:
    """Fill a fresh `ring` with `state`; the next position is `len(state.ids)`. Raises OutOfPages, holding what it took.

    Pages may be of another size, and the ring of another length, than where the state was taken. The positions before
    `state.first` on the first page hold anything: such a page must not be shared as one of these ids.
    """
    assert state.k.dtype == pool.k.dtype, "a cache is restored in the type it was taken in"
    length = len(state.ids)
    ring.adopt((), state.first // pool.page_tokens)
    ring.retire(length)  # nothing is held yet: this says what will be seen, so that no page is taken for what will not
    ring.extend(length)
    slots = _slots(pool, ring, state.first, length)
    for pages, held in zip(pool.held, state.held, strict=True):
        pages.flatten(1, 2)[:, slots] = held.to(pages.device)


def _slots(pool: PagePool, ring: PageRing, first: int, end: int) -> Tensor:
    """Flat slots (page x P + offset) of the positions from `first` to `end`, `[end - first]`, on the pool's device.

    By position, not by page: the oldest and the newest of them may share a page, in the paper's ring they mostly do.
    """
    positions = torch.arange(first, end)
    pages = torch.tensor(ring.table)[positions // pool.page_tokens % len(ring.table)]
    assert bool((pages != NULL_PAGE).all()), "the ring has let go of a page that is still seen"
    return (pages * pool.page_tokens + positions % pool.page_tokens).to(pool.k.device)

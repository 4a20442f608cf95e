"""Crowd: several sequences fed through one page pool, in any order and any pieces, with the pool's books checked each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import NULL_PAGE, PagePool, PageRing, ring_slots
from mistral7b.model.transformer import Transformer


@dataclass
class Member:
    """One sequence on its way through: `done` tokens are in, `rows` holds the logits `[n, vocab]` of each piece."""

    ids: list[int]
    ring: PageRing
    done: int = 0
    rows: list[Tensor] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Tokens still to feed."""
        return len(self.ids) - self.done

    @property
    def logits(self) -> Tensor:
        """Logits of all tokens fed so far, `[done, vocab]`."""
        return torch.cat(self.rows)


class Crowd:
    """Sequences that share one pool of `n_pages` pages; rings are sized for pieces of at most `chunk` tokens.

    The cache is of type `cached`, by default the model's."""

    def __init__(
        self,
        model: Transformer,
        *,
        chunk: int,
        page_tokens: int,
        max_len: int,
        n_pages: int = 256,
        cached: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.window = model.config.sliding_window
        self.slots = ring_slots(self.window, chunk, page_tokens, max_len)
        self.pool = PagePool(model.config, n_pages, page_tokens=page_tokens, dtype=cached or model.dtype)
        self.members: list[Member] = []

    def join(self, ids: list[int]) -> Member:
        """A new sequence, none of it fed yet."""
        member = Member(ids, PageRing(self.pool, self.slots, self.window))
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        """Release a sequence's pages, as they are, to the others."""
        member.ring.release()
        self.members.remove(member)
        self.check_books()

    def step(self, pieces: Sequence[tuple[Member, int]], adapters: Sequence[int] | None = None) -> None:
        """One forward that feeds each member, in this order, its next n tokens, through its adapter."""
        spans = []
        for (member, tokens), adapter in zip(pieces, adapters or [None] * len(pieces), strict=True):
            member.ring.extend(member.done + tokens)
            spans.append(Span(member.ids[member.done : member.done + tokens], member.done, member.ring.table, "all", adapter))
        out = self.model(TokenBatch.pack(spans), self.pool)
        for (member, tokens), rows in zip(pieces, out.split([n for _, n in pieces]), strict=True):
            member.rows.append(rows)
            member.done += tokens
            member.ring.retire(member.done)
        self.check_books()

    def check_books(self) -> None:
        """Every page is free or in exactly one ring; no ring holds more pages than it has slots, or than its window needs."""
        held = [page for member in self.members for page in member.ring.table if page != NULL_PAGE]
        assert len(held) == len(set(held)), "a page stands in two slots"
        assert set(held) <= set(range(1, self.pool.n_pages + 1)), "a page that the pool does not have"
        assert len(held) + self.pool.n_free == self.pool.n_pages, "a page is lost, or free and held at once"
        for member in self.members:
            assert member.ring.n_held <= self.slots
            if self.window is not None:
                assert member.ring.n_held <= -(-self.window // self.pool.page_tokens) + 1, "a page out of sight is still held"


def alone(model: Transformer, ids: list[int], *, page_tokens: int, cached: torch.dtype | None = None) -> Tensor:
    """Logits `[T, vocab]` of a sequence that has the pool to itself and comes token by token."""
    crowd = Crowd(model, chunk=1, page_tokens=page_tokens, max_len=len(ids), cached=cached)
    member = crowd.join(ids)
    while member.left:
        crowd.step([(member, 1)])
    return member.logits

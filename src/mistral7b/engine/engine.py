"""The engine: requests of ids in, ids out, one step at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled, sample
from mistral7b.engine.scheduler import Scheduler
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import PagePool, PageRing, ring_slots
from mistral7b.model.transformer import Transformer

# The reference kernels gain nothing from longer chunks, and without a window nothing else bounds one.
DEFAULT_CHUNK = 4096


class Engine:
    """Runs many requests over one model and one pool of pages. It knows ids only, no text.

    No request may be longer than `max_model_len`. `chunk` is the most tokens of one sequence in a forward, by default the
    window (paper, section 2, figure 3).
    """

    def __init__(
        self, model: Transformer, pool: PagePool, *, max_model_len: int, max_num_seqs: int = 16, chunk: int | None = None
    ) -> None:
        self.model = model
        self.pool = pool
        self.window = model.config.sliding_window
        self.chunk = chunk or self.window or DEFAULT_CHUNK
        # All page tables are of one length, that of the longest request; a shorter one leaves slots empty.
        self.slots = ring_slots(self.window, self.chunk, pool.page_tokens, max_model_len)
        budget = max(self.chunk, max_num_seqs)
        self.scheduler = Scheduler(
            pool.n_pages, max_num_seqs=max_num_seqs, chunk=self.chunk, budget=budget, pages_needed=self.pages_needed
        )

    def pages_needed(self, request: Request) -> int:
        """The most pages `request` can hold at once."""
        return ring_slots(self.window, self.chunk, self.pool.page_tokens, request.max_len)

    def add(self, request: Request) -> None:
        """Queue a request; `step` moves it on until its `finish_reason` is set."""
        self.scheduler.add(request)

    def cancel(self, request: Request) -> None:
        """End a request now and give its pages back; one that has ended stays as it is."""
        if request.finish_reason is None:
            request.finish_reason = "cancelled"
            self._leave(request)

    @property
    def idle(self) -> bool:
        """True when no request is running or waiting."""
        return not (self.scheduler.running or self.scheduler.waiting)

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One forward over every running request; returns those whose next token it decided, or found it cannot."""
        for request in self.scheduler.admit():
            request.ring = PageRing(self.pool, self.slots, self.window)
        share = self.scheduler.plan()
        if not share:
            return []
        logits = self.model(TokenBatch.pack([self._span(request, tokens) for request, tokens in share]), self.pool)
        advanced = [request for request, tokens in share if tokens == request.pending]
        chosen = [_choose(request, row) for request, row in zip(advanced, logits, strict=True)]
        # Nothing is committed before all has been computed: a step that raises can be taken again.
        for request, tokens in share:
            self._commit(request, tokens)
        for request, sampled in zip(advanced, chosen, strict=True):
            if sampled is None:
                request.finish_reason = "not_finite"
            else:
                request.accept(sampled)
            if request.finish_reason is not None:
                self._leave(request)
        return advanced

    def _span(self, request: Request, tokens: int) -> Span:
        assert request.ring is not None
        start, end = request.computed, request.computed + tokens
        request.ring.extend(end)
        return Span(request.ids(start, end), start, request.ring.table, "last" if end == request.length else "none")

    def _commit(self, request: Request, tokens: int) -> None:
        """Count `tokens` as computed and let go of pages out of sight."""
        assert request.ring is not None
        request.computed += tokens
        request.ring.retire(request.computed)

    def _leave(self, request: Request) -> None:
        self.scheduler.remove(request)
        if request.ring is not None:
            request.ring.release()
            request.ring = None


def _choose(request: Request, row: Tensor) -> Sampled | None:
    """The request's next token from its logits `[vocab]`; None if they are not finite."""
    return sample(row, request.params, request.seed, request.length) if bool(row.max().isfinite()) else None

"""Who runs in the next step, and how many tokens of each: pure Python, no tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mistral7b.engine.request import Request


class Scheduler:
    """First come, first served. A request is admitted when the pages it can ever hold are free, so it is never evicted.

    `n_pages` is the size of the pool, `max_num_seqs` how many run at once, `chunk` the most tokens of one sequence in a
    step and `budget` the most of all; `pages_needed` tells what a request holds at most.
    """

    def __init__(
        self, n_pages: int, *, max_num_seqs: int, chunk: int, budget: int, pages_needed: Callable[[Request], int]
    ) -> None:
        assert budget >= max_num_seqs, "every running sequence must be able to advance"
        self.n_pages = n_pages
        self.max_num_seqs = max_num_seqs
        self.chunk = chunk
        self.budget = budget
        self.pages_needed = pages_needed
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self._promised = 0

    def add(self, request: Request) -> None:
        """Queue a request; one that could never be admitted is the caller's mistake."""
        assert self.pages_needed(request) <= self.n_pages, "the pool is smaller than this request"
        self.waiting.append(request)

    def admit(self) -> list[Request]:
        """Move waiting requests to running while there is room, and return them."""
        admitted = []
        while self.waiting and len(self.running) < self.max_num_seqs:
            needed = self.pages_needed(self.waiting[0])
            if self._promised + needed > self.n_pages:
                break
            request = self.waiting.popleft()
            self._promised += needed
            self.running.append(request)
            admitted.append(request)
        return admitted

    def remove(self, request: Request) -> None:
        """Forget a request, running or waiting."""
        if request in self.running:
            self.running.remove(request)
            self._promised -= self.pages_needed(request)
        else:
            self.waiting.remove(request)

    def plan(self) -> list[tuple[Request, int]]:
        """(request, tokens) of the next step: decoding first, so that a long prompt never stalls a stream."""
        left, share = self.budget, []
        for request in sorted(self.running, key=lambda r: r.pending > 1):
            tokens = min(request.pending, self.chunk, left)
            if tokens:
                share.append((request, tokens))
                left -= tokens
        return share

"""Who runs in the next step, and how many tokens of each: pure Python, no tensors."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from itertools import count

from mistral7b.engine.request import Request

# How many later requests may overtake one for each level of priority it stands below them: no request waits for ever.
_OVERTAKING = 1000


class Scheduler:
    """First come, first served, among requests of one priority.

    `n_pages` is the size of the pool, `max_num_seqs` how many run at once, `chunk` the most tokens of one sequence in a
    step and `budget` the most of all. `pages_needed(request, end)` tells how many pages it must hold to run its ids below
    position `end`. With a window that is the same number for every end, so a request that runs is never put off; without
    one, the last to come is put off (`plan`) when there is no page left for one before it.
    """

    def __init__(
        self,
        n_pages: int,
        *,
        max_num_seqs: int,
        chunk: int,
        budget: int,
        pages_needed: Callable[[Request, int], int],
    ) -> None:
        assert budget >= max_num_seqs, "every running sequence must be able to advance"
        self.n_pages = n_pages
        self.max_num_seqs = max_num_seqs
        self.chunk = chunk
        self.budget = budget
        self.pages_needed = pages_needed
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self._rank: dict[Request, int] = {}  # the lower goes first
        self._claims: dict[Request, int] = {}  # pages
        self._arrivals = count()

    @property
    def unclaimed(self) -> int:
        """Pages that no running request has a claim to."""
        return self.n_pages - sum(self._claims.values())

    def __contains__(self, request: Request) -> bool:
        """True while a request runs or waits."""
        return request in self._rank

    def add(self, request: Request) -> None:
        """Queue a request; one that could never be admitted is the caller's mistake."""
        assert self.pages_needed(request, request.max_len) <= self.n_pages, "the pool is smaller than this request"
        self._rank[request] = next(self._arrivals) + request.priority * _OVERTAKING
        insort(self.waiting, request, key=self._rank.__getitem__)

    def admit(self) -> list[Request]:
        """Move waiting requests to running while there is room, and return them. Nobody overtakes one that does not fit."""
        admitted: list[Request] = []
        for request in list(self.waiting):
            if self._follows(request):
                continue
            if len(self.running) == self.max_num_seqs or not self.claim(request, request.length):
                break
            self.waiting.remove(request)
            self.running.append(request)
            admitted.append(request)
        return admitted

    def plan(self) -> tuple[list[tuple[Request, int]], list[Request]]:
        """(request, tokens) of the next step, and the requests that must wait again, from their beginning.

        Decoding comes first, so that a long prompt never stalls a stream; what it leaves is shared by the prompts, so that
        a long one does not stall a short one either.
        """
        shares = self._shares()
        put_off: list[Request] = []
        for request in sorted(shares, key=self._rank.__getitem__):
            while request in self._claims and not self.claim(request, request.computed + shares[request]):
                last = max(self.running, key=self._rank.__getitem__)
                self._put_off(last)
                put_off.append(last)
        return [(request, tokens) for request, tokens in shares.items() if request in self._claims], put_off

    def claim(self, request: Request, end: int) -> bool:
        """Claim what `request` needs to run its ids below position `end`; False, and nothing claimed, if there is not enough."""
        needed, held = self.pages_needed(request, end), self._claims.get(request, 0)
        if needed - held > self.unclaimed:
            return False
        self._claims[request] = max(needed, held)
        return True

    def remove(self, request: Request) -> None:
        """Forget a request, running or waiting."""
        if self._claims.pop(request, None) is None:
            self.waiting.remove(request)
        else:
            self.running.remove(request)
        del self._rank[request]

    def _shares(self) -> dict[Request, int]:
        """Tokens for each running request: one for a decoding one, and equal shares of the rest, of which none gets more
        than it can use. At least one each."""
        shares = {request: 1 for request in self.running if request.pending == 1}
        left = self.budget - len(shares)
        hungry = sorted((request for request in self.running if request not in shares), key=lambda request: request.pending)
        for place, request in enumerate(hungry):
            shares[request] = min(request.pending, self.chunk, -(-left // (len(hungry) - place)))
            left -= shares[request]
        return shares

    def _follows(self, request: Request) -> bool:
        """True while the request waits for its leader's prompt, unless it must read its own anyway."""
        leader = request.leader
        if leader is None or request.reads_prompt:
            return False
        return leader in self._rank and leader.computed < len(leader.prompt)

    def _put_off(self, request: Request) -> None:
        self.running.remove(request)
        del self._claims[request]
        insort(self.waiting, request, key=self._rank.__getitem__)

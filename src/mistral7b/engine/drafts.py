"""Drafts: ids that may come next, guessed cheaply and judged by the model. They decide how fast ids come, never which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mistral7b.engine.request import Request
from mistral7b.engine.worth import Worth


class Drafter(Protocol):
    """What the engine asks of whoever guesses (speculative decoding, arXiv 2211.17192).

    The engine runs a proposal behind the request's last id in one forward, and samples at every row as plain decoding
    would: while a sample is the id drafted there the next row counts too, the first other one ends it.
    """

    def propose(self, wanted: Sequence[tuple[Request, int]]) -> list[list[int]]:
        """For each (request, most): at most `most` ids that may follow its ids; [] for no guess."""
        ...

    def observe(self, request: Request, drafted: int, accepted: int) -> None:
        """Of the request's last proposal the first `drafted` ids were run, and `accepted` of those were right."""
        ...

    def leave(self, request: Request) -> None:
        """The request has ended, finished or cancelled. One that was never seen may leave too."""
        ...


class PricedDrafter(Drafter, Protocol):
    """A Drafter that knows what it costs."""

    @property
    def id_seconds(self) -> float:
        """Seconds for one more id of each request asked for at once; 0 where that is next to nothing."""
        ...


class Drafts:
    """Several drafters as one: the first guess for a request is taken, unless a later drafter has been right more often, and
    cut to the length that pays.

    `propose` is to be called once a step with all requests that decode, and `measured` told what the step took; without a
    measurement there are no drafts. A drafter that costs something is asked only for as many ids as promise to pay.
    """

    def __init__(self, drafters: Sequence[PricedDrafter], worth: Worth | None = None) -> None:
        self.drafters = drafters
        self.worth = worth or Worth()
        self._source: dict[Request, int] = {}  # whose proposal a request was last given

    def propose(self, wanted: Sequence[tuple[Request, int]]) -> list[list[int]]:
        """As Drafter."""
        found: list[list[int]] = [[] for _ in wanted]
        for number in range(len(self.drafters)):
            open_to = [
                (place, request, most)
                for place, (request, most) in enumerate(wanted)
                if most > 0 and not (found[place] and self._trusted(request) >= self.worth.chance((number, request)))
            ]
            asked = self._affordable(number, open_to, len(wanted))
            if not asked:
                continue
            proposals = self.drafters[number].propose([(request, most) for _, request, most in asked])
            for (place, request, _), ids in zip(asked, proposals, strict=True):
                if ids:
                    found[place] = ids
                    self._source[request] = number
        offered = [(place, wanted[place][0]) for place, ids in enumerate(found) if ids]
        if offered:
            offers = [((self._source[request], request), len(found[place])) for place, request in offered]
            for (place, _), length in zip(offered, self.worth.share(offers, len(wanted), len(wanted)), strict=True):
                found[place] = found[place][:length]
        return found

    def observe(self, request: Request, drafted: int, accepted: int) -> None:
        """As Drafter."""
        source = self._source.get(request)
        if source is not None:
            self.worth.observe((source, request), drafted, accepted)
            self.drafters[source].observe(request, drafted, accepted)

    def leave(self, request: Request) -> None:
        """As Drafter."""
        self._source.pop(request, None)
        for number, drafter in enumerate(self.drafters):
            self.worth.forget((number, request))
            drafter.leave(request)

    def measured(self, sequences: int, rows: int, seconds: float) -> None:
        """A step ran `rows` rows of `sequences` sequences in `seconds`, the drafters' own time not counted."""
        self.worth.measured(sequences, rows, seconds)

    def _trusted(self, request: Request) -> float:
        """The chance of what is proposed now."""
        return self.worth.chance((self._source[request], request))

    def _affordable(self, number: int, asked: list[tuple[int, Request, int]], sequences: int) -> list[tuple[int, Request, int]]:
        """`asked` (place, request, most) with `most` cut to what is worth this drafter's time."""
        price = self.drafters[number].id_seconds
        if not asked or price == 0:
            return asked
        offers = [((number, request), most) for _, request, most in asked]
        lengths = self.worth.share(offers, sequences, sequences, price)
        return [(place, request, length) for (place, request, _), length in zip(asked, lengths, strict=True) if length]

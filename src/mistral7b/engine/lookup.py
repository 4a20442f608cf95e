"""Drafts by suffix lookup: what followed the last ids when they stood before, in this request or in an earlier one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from mistral7b.engine.request import Request

LEAST = 2  # ids that must match at least: with three, greedy prose of `tiny` gains a quarter less, and nothing gains more
LONG = 16  # a longer match is trusted no more than this one
CANDIDATES = 16  # occurrences looked at, the most recent first: bounds the cost where a text repeats itself
PROMPT_TAIL = 64  # ids of the prompt kept with an output, so that the same question finds its answer
BORDER = -1  # stands between two texts; equals no id

_ID_BITS = 31  # ModelConfig bounds a vocabulary by 2**31


class Occurrences:
    """Ids appended one after another, and where each run of `least` ids ended before.

    Places count from the first id ever appended and stay what they are when ids leave at the front. Each id costs one
    dict entry, O(1); nothing is ever scanned again.
    """

    def __init__(self, least: int = LEAST) -> None:
        self.least = least
        self.ids: list[int] = []
        self.first = 0  # the place of ids[0]
        self._latest: dict[int, int] = {}  # run of ids as one number -> place of its last id
        self._earlier: list[int] = []  # for each id: where the run that ends with it ended before, or -1
        self._run = 0  # the last ids as one number
        self._known = 0  # ids since the last border
        self._mask = (1 << (_ID_BITS * least)) - 1

    @property
    def end(self) -> int:
        """The place of the next id."""
        return self.first + len(self.ids)

    def extend(self, ids: Iterable[int]) -> None:
        """Append ids; BORDER separates texts."""
        place, latest, run, known = self.end, self._latest, self._run, self._known
        for id in ids:
            earlier = -1
            if id == BORDER:
                run = known = 0
            else:
                run = (run << _ID_BITS | id) & self._mask
                known += 1
                if known >= self.least:
                    earlier = latest.get(run, -1)
                    latest[run] = place
            self.ids.append(id)
            self._earlier.append(earlier)
            place += 1
        self._run, self._known = run, known

    def drop(self, count: int) -> None:
        """Forget the oldest `count` ids, which must end with a border or be all there are."""
        run = 0
        for offset, id in enumerate(self.ids[:count]):
            run = 0 if id == BORDER else (run << _ID_BITS | id) & self._mask
            if self._latest.get(run) == self.first + offset:
                del self._latest[run]
        del self.ids[:count], self._earlier[:count]
        self.first += count

    def before(self) -> int:
        """Where the last `least` ids ended before they ended here; -1 if nowhere."""
        return self._earlier[-1] if self._earlier else -1

    def latest(self, run: int) -> int:
        """Where a run of `least` ids, as one number (see `last_run`), ended last; -1 if nowhere."""
        return self._latest.get(run, -1)

    def last_run(self) -> int | None:
        """The last `least` ids as one number; None when there are fewer."""
        return self._run if self._known >= self.least else None

    def longest(self, place: int, suffix: Sequence[int]) -> tuple[int, int]:
        """(length, place): of the CANDIDATES latest occurrences back from `place`, the one with the longest match.

        A match is how many ids before and at the place equal the end of `suffix`, counted up to LONG; the more recent of
        two equal ones wins. (0, -1) if there is none.
        """
        best, at = 0, -1
        reach = min(LONG, len(suffix))
        for _ in range(CANDIDATES):
            offset = place - self.first
            if offset < 0:
                break
            length, most = self.least, min(reach, offset + 1)
            while length < most and self.ids[offset - length] == suffix[-1 - length]:
                length += 1
            if length > best:
                best, at = length, place
                if best == reach:
                    break
            place = self._earlier[offset]
        return best, at

    def following(self, place: int, most: int) -> list[int]:
        """At most `most` ids after `place`, within its text; at the end they go on as they would if the text repeated."""
        start = place + 1 - self.first
        found = self.ids[start : start + most]
        if BORDER in found:
            return found[: found.index(BORDER)]
        period = len(found)
        while found and len(found) < most:
            found.append(found[len(found) - period])
        return found


class Lookup:
    """A Drafter that proposes what followed the longest earlier match of a request's last ids.

    It looks in the request's own prompt and output, and in a corpus of what earlier requests were given, of at most
    `corpus_ids` ids, the oldest leaving first. A match of n ids is believed for 2 (n - 1) ids more, up to what is asked for.

    How fast an answer comes can tell whether a similar one was given before; `corpus_ids=0` keeps requests apart.
    """

    def __init__(self, corpus_ids: int = 32_768) -> None:
        self.corpus_ids = corpus_ids
        self._corpus = Occurrences()
        self._lengths: deque[int] = deque()
        self._seen: dict[Request, Occurrences] = {}  # the ids of each running request

    def propose(self, wanted: Sequence[tuple[Request, int]]) -> list[list[int]]:
        """For each (request, most): at most `most` ids that may follow; [] where nothing matches."""
        return [self._propose(request, most) for request, most in wanted]

    @property
    def id_seconds(self) -> float:
        """As PricedDrafter: a look takes microseconds."""
        return 0.0

    def observe(self, request: Request, drafted: int, accepted: int) -> None:
        """As Drafter: what the ids were tells more, and the next look reads them."""

    def leave(self, request: Request) -> None:
        """The request has ended: what it was given joins the corpus."""
        self._seen.pop(request, None)
        tail = max(0, len(request.prompt) - PROMPT_TAIL)
        if not request.output or request.length - tail >= self.corpus_ids:
            return
        self._corpus.extend([*request.ids(tail, request.length), BORDER])
        self._lengths.append(request.length - tail + 1)
        leaving = 0
        while len(self._corpus.ids) - leaving > self.corpus_ids:
            leaving += self._lengths.popleft()
        if leaving:
            self._corpus.drop(leaving)

    def _propose(self, request: Request, most: int) -> list[int]:
        seen = self._seen.get(request)
        if seen is None:
            seen = self._seen[request] = Occurrences()
        if seen.end < request.length:
            seen.extend(request.ids(seen.end, request.length))
        run = seen.last_run()
        if run is None or most < 1:
            return []
        length, place = seen.longest(seen.before(), seen.ids)
        source = seen
        if length < LONG:
            theirs, there = self._corpus.longest(self._corpus.latest(run), seen.ids)
            if theirs > length:
                length, place, source = theirs, there, self._corpus
        return source.following(place, min(most, 2 * (length - 1))) if length else []

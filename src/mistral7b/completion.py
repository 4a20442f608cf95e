"""Completion: one request's ids becoming text, with stop strings cut at the right character."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled
from mistral7b.outputs import CompletionOutput, Logprob, RequestOutput, Timing
from mistral7b.tokens.stream import Detokenizer
from mistral7b.tokens.tokenizer import Tokenizer


class Completion:
    """Follows one engine request. `context_ids` are the ids whose text the completion goes on with (see Detokenizer).

    Without a tokenizer there is no text, and stop strings cannot match.
    """

    def __init__(
        self,
        request: Request,
        tokenizer: Tokenizer | None,
        *,
        prompt: str | None = None,
        context_ids: Sequence[int] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.request = request
        self.stop_reason: int | str | None = None
        self._tokenizer = tokenizer
        known = [id for id in context_ids if self._known(id)]
        self._detokenizer = Detokenizer(tokenizer, prompt_ids=known) if tokenizer else None
        self._prompt = prompt
        self._notes = list(notes)
        self._text = ""  # all text so far, what is held back included
        self._sent = 0  # characters already handed out
        self._seen = 0  # output ids already turned into text
        self._logprobs: list[dict[int, Logprob]] = []
        self._arrival = time.perf_counter()
        self._first: float | None = None
        self._last = self._arrival

    @property
    def behind(self) -> bool:
        """True while the request has ids that `advance` has not taken in. After a stop string none counts."""
        return not isinstance(self.stop_reason, str) and self._seen < len(self.request.output)

    @property
    def ended(self) -> bool:
        """True when nothing will follow."""
        return isinstance(self.stop_reason, str) or (self.request.finish_reason is not None and not self.behind)

    def advance(self) -> str:
        """Take in the request's next id; returns the text that has become final.

        Text that may be the beginning of a stop string is held back until it is decided. If a stop string is complete,
        `stop_reason` names it, and the caller should cancel the request.
        """
        self._last = time.perf_counter()
        self._first = self._first or self._last
        sampled = self.request.output[self._seen]
        token = sampled.id
        self._seen += 1
        if sampled.logprob is not None:
            self._logprobs.append(self._entries(sampled))
        stopped = self.ended and self.request.finish_reason == "stop"
        if stopped and token in self.request.params.stop_token_ids:
            self.stop_reason = token
        if self._detokenizer is None:
            return ""
        searched = len(self._text)
        if not stopped and self._known(token):
            self._text += self._detokenizer.push(token)
        if self.ended:
            self._text += self._detokenizer.finish()
        self._cut_at_stop(searched)
        final = len(self._text) - (0 if self.ended else self._held_back())
        text, self._sent = self._text[self._sent : final], max(self._sent, final)
        return text

    def output(self) -> RequestOutput:
        """The request as it stands."""
        request = self.request
        reason = "stop" if isinstance(self.stop_reason, str) else request.finish_reason if self.ended else None
        completion = CompletionOutput(
            index=0,
            text=self._text[: self._sent],
            token_ids=[sampled.id for sampled in request.output[: self._seen]],
            finish_reason=reason,
            stop_reason=self.stop_reason,
        )
        if request.params.logprobs is not None:
            completion.logprobs = list(self._logprobs)
            completion.cumulative_logprob = sum(sampled.logprob or 0.0 for sampled in request.output[: self._seen])
        first = self._first or self._last
        timing = Timing(first - self._arrival, self._last - first)
        return RequestOutput(self._prompt, list(request.prompt), [completion], self.ended, timing, list(self._notes))

    def _cut_at_stop(self, searched: int) -> None:
        places = []
        for stop in self.request.params.stop:
            place = self._text.find(stop, max(0, searched - len(stop) + 1))
            if place >= 0:
                places.append((place, stop))
        if places:
            place, self.stop_reason = min(places)
            self._text = self._text[:place]

    def _held_back(self) -> int:
        """Characters at the end that may yet turn out to begin a stop string."""
        longest = 0
        for stop in self.request.params.stop:
            for size in range(min(len(stop) - 1, len(self._text)), longest, -1):
                if self._text.endswith(stop[:size]):
                    longest = size
                    break
        return longest

    def _entries(self, sampled: Sampled) -> dict[int, Logprob]:
        assert sampled.logprob is not None
        assert sampled.rank is not None
        found = {id: Logprob(value, rank, self._piece(id)) for rank, (id, value) in enumerate(sampled.top, 1)}
        found[sampled.id] = Logprob(sampled.logprob, sampled.rank, self._piece(sampled.id))
        return found

    def _known(self, id: int) -> bool:
        """False for an id that a fine-tune added and the tokenizer does not know: it has no text."""
        return self._tokenizer is not None and id < self._tokenizer.vocab_size

    def _piece(self, id: int) -> str | None:
        return self._tokenizer.piece(id) if self._tokenizer and self._known(id) else None

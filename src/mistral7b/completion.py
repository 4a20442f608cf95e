"""Completion: one request's ids becoming text, with stop strings cut at the right character."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled
from mistral7b.outputs import CompletionOutput, Logprob, RequestOutput, Timing
from mistral7b.tokens.stream import Detokenizer
from mistral7b.tokens.tokenizer import Tokenizer


def gather(completions: Sequence[Completion]) -> RequestOutput:
    """The completions of one prompt as they stand."""
    first = completions[0]
    return RequestOutput(
        first.prompt,
        list(first.request.prompt),
        [completion.completion() for completion in completions],
        all(completion.ended for completion in completions),
        first.timing,
        list(first.notes),
        first.request.cached,
        first.prompt_logprobs(),
    )


class Completion:
    """Follows one engine request, number `index` of its prompt. `context_ids` are the ids whose text the completion goes on
    with (see Detokenizer).

    With a `calls_marker`, the text after that id, [TOOL_CALLS], is that of tool calls: it goes to `call_text`, and stop
    strings do not count in it. Without a tokenizer there is no text, and stop strings cannot match.
    """

    def __init__(
        self,
        request: Request,
        tokenizer: Tokenizer | None,
        *,
        index: int = 0,
        prompt: str | None = None,
        context_ids: Sequence[int] = (),
        notes: Sequence[str] = (),
        calls_marker: int | None = None,
    ) -> None:
        self.request = request
        self.index = index
        self.notes = list(notes)
        self.stop_reason: int | str | None = None
        self.call_text = ""
        self.logprobs: list[dict[int, Logprob]] = []
        self._tokenizer = tokenizer
        known = [id for id in context_ids if self._known(id)]
        self._detokenizer = Detokenizer(tokenizer, prompt_ids=known) if tokenizer else None
        self.prompt = prompt
        self._calls_marker = calls_marker
        self._calling = False
        self._text = ""  # all text so far, what is held back included
        self._sent = 0  # characters already handed out
        self._seen = 0  # output ids already turned into text
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

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, None until it has; "stop" after a stop string."""
        return "stop" if isinstance(self.stop_reason, str) else self.request.finish_reason if self.ended else None

    @property
    def text(self) -> str:
        """The text handed out so far."""
        return self._text[: self._sent]

    @property
    def token_ids(self) -> list[int]:
        """The ids taken in so far."""
        return [sampled.id for sampled in self.request.output[: self._seen]]

    @property
    def n_tokens(self) -> int:
        """How many ids were taken in so far."""
        return self._seen

    @property
    def timing(self) -> Timing:
        """How long it took."""
        first = self._first or self._last
        return Timing(first - self._arrival, self._last - first)

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
            self.logprobs.append(self._entries(sampled))
        stopped = self.ended and token in self.request.stop_ids
        if stopped and token in self.request.params.stop_token_ids:
            self.stop_reason = token
        if self._detokenizer is None:
            return ""
        new = "" if stopped or not self._known(token) else self._detokenizer.push(token)
        if self.ended:
            new += self._detokenizer.finish()
        if self._calling:
            self.call_text += new
            return ""
        self._calling = token == self._calls_marker
        searched = len(self._text)
        self._text += new
        if self._seen >= self.request.params.min_tokens:
            self._cut_at_stop(searched)
        final = len(self._text) - (0 if self.ended or self._calling else self._held_back())
        text, self._sent = self._text[self._sent : final], max(self._sent, final)
        return text

    def output(self) -> RequestOutput:
        """The request as it stands."""
        return gather([self])

    def completion(self) -> CompletionOutput:
        """This completion as it stands."""
        made = CompletionOutput(
            index=self.index,
            text=self.text,
            token_ids=self.token_ids,
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )
        if self.request.params.logprobs is not None:
            made.logprobs = list(self.logprobs)
            made.cumulative_logprob = sum(sampled.logprob or 0.0 for sampled in self.request.output[: self._seen])
        return made

    def prompt_logprobs(self) -> list[dict[int, Logprob] | None] | None:
        """Those of the prompt's ids, if they were asked for: None for the first, which follows nothing."""
        if self.request.params.prompt_logprobs is None:
            return None
        return [None, *(self._entries(sampled) for sampled in self.request.prompt_logprobs)]

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

"""One request: its ids, how far they are computed, and why it ended."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mistral7b.engine.params import SamplingParams
from mistral7b.engine.sampler import Sampled
from mistral7b.model.pages import PageRing

# "not_finite": the model gave NaN or infinite logits, and no token can be chosen.
FinishReason = Literal["stop", "length", "cancelled", "not_finite"]


@dataclass(eq=False)
class Request:
    """Lengths, not phases: `computed` positions are in the cache, the ids behind them are still to be run.

    `max_len` bounds prompt and output together. `ring` is set while the request holds pages.
    """

    prompt: Sequence[int]
    params: SamplingParams
    max_len: int
    stop_ids: frozenset[int]
    seed: int
    ring: PageRing | None = None
    computed: int = 0
    output: list[Sampled] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    @classmethod
    def make(cls, prompt: Sequence[int], params: SamplingParams, max_model_len: int, eos_ids: Collection[int]) -> Request:
        """A request that ends at the context's end at the latest; `seed` is drawn here when none was given."""
        room = max_model_len - len(prompt)
        wanted = room if params.max_tokens is None else min(room, params.max_tokens)
        stop_ids = set(params.stop_token_ids)
        if not params.ignore_eos:
            stop_ids.update(eos_ids)
        seed = secrets.randbits(64) if params.seed is None else params.seed
        return cls(list(prompt), params, len(prompt) + wanted, frozenset(stop_ids), seed)

    @property
    def length(self) -> int:
        """Ids known so far, prompt and output."""
        return len(self.prompt) + len(self.output)

    @property
    def pending(self) -> int:
        """Ids known but not yet computed: at least 1 until the request ends."""
        return self.length - self.computed

    def ids(self, start: int, end: int) -> list[int]:
        """The ids at positions `start` up to `end`."""
        split = len(self.prompt)
        return [*self.prompt[start:end], *(s.id for s in self.output[max(0, start - split) : max(0, end - split)])]

    def accept(self, sampled: Sampled) -> None:
        """Append a token, and end if it is the last."""
        self.output.append(sampled)
        if sampled.id in self.stop_ids:
            self.finish_reason = "stop"
        elif self.length >= self.max_len:
            self.finish_reason = "length"

"""One request: its ids, how far they are computed, and why it ended."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from mistral7b.engine.constraint import Constraint
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.sampler import Counts, Sampled
from mistral7b.model.pages import PageRing
from mistral7b.model.snapshot import KVState

# "not_finite": the network gave NaN or infinite logits, and no token can be chosen. "error": see `Request.error`.
FinishReason = Literal["stop", "length", "cancelled", "not_finite", "error"]


@dataclass(eq=False, kw_only=True)
class Request:
    """Lengths, not phases: `computed` positions are in the cache, the ids behind them are still to be run.

    `max_len` bounds prompt and output together. Of waiting requests the one of the lowest `priority` goes first, and one
    waits until the prompt of its `leader` is in the cache, where it will find it. `adapter` is what it goes through (see
    `TokenBatch.adapters`), of all requests or of none. `salt` keeps cached prefixes apart that equal ids do not make equal (an
    adapter, a tenant). `constraint` binds the output to a grammar. `state` is, on arrival,
    the cache of the first ids of the prompt, saved by an earlier request; with `keep_state` it is left there at the end.
    `pooled`, where it is given as fp64 zeros `[dim]`, gathers the sum of the final normed states of the prompt.

    The engine fills in the rest: `ring` while the request holds pages, `cached` positions that it did not have to compute,
    and the `error` that a request of finish_reason "error" met.
    """

    prompt: Sequence[int]
    params: SamplingParams
    max_len: int
    stop_ids: frozenset[int]
    seed: int
    priority: int = 0
    leader: Request | None = None
    adapter: int | None = None
    salt: bytes = b""
    constraint: Constraint | None = None
    keep_state: bool = False
    state: KVState | None = None
    pooled: Tensor | None = None

    ring: PageRing | None = None
    counts: Counts | None = None
    computed: int = 0
    cached: int = 0
    labelled: int = 0
    page_keys: list[bytes] = field(default_factory=list)
    output: list[Sampled] = field(default_factory=list)
    prompt_logprobs: list[Sampled] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    error: str | None = None

    @classmethod
    def make(
        cls,
        prompt: Sequence[int],
        params: SamplingParams,
        max_model_len: int,
        eos_ids: Collection[int],
        *,
        choice: int = 0,
        priority: int = 0,
        leader: Request | None = None,
        constraint: Constraint | None = None,
    ) -> Request:
        """A request that ends at the context's end at the latest. `seed` is drawn here when none was given; of the n
        completions of a prompt, `choice` i draws other numbers than the first, and the same ones each time."""
        room = max_model_len - len(prompt)
        wanted = room if params.max_tokens is None else min(room, params.max_tokens)
        stop_ids = set(params.stop_token_ids)
        if not params.ignore_eos:
            stop_ids.update(eos_ids)
        seed = secrets.randbits(64) if params.seed is None else (params.seed + choice * _CHOICE_STRIDE) % 2**64
        return cls(
            prompt=list(prompt), params=params, max_len=len(prompt) + wanted, stop_ids=frozenset(stop_ids), seed=seed,
            priority=priority, leader=leader, constraint=constraint,
        )  # fmt: skip

    @property
    def length(self) -> int:
        """Ids known so far, prompt and output."""
        return len(self.prompt) + len(self.output)

    @property
    def pending(self) -> int:
        """Ids known but not yet computed."""
        return self.length - self.computed

    @property
    def decoding(self) -> bool:
        """True when only the newest id is still to be run."""
        return self.pending == 1 and bool(self.output)

    @property
    def reads_prompt(self) -> bool:
        """True if every position of the prompt must be run, whatever the cache may hold."""
        return self.pooled is not None or self.params.prompt_logprobs is not None

    def ids(self, start: int, end: int) -> list[int]:
        """The ids at positions `start` up to `end`."""
        split = len(self.prompt)
        return [*self.prompt[start:end], *(s.id for s in self.output[max(0, start - split) : max(0, end - split)])]

    def barred(self) -> Collection[int]:
        """The ids that may not come next: those that would end it, before `min_tokens`."""
        return self.stop_ids if len(self.output) < self.params.min_tokens else ()

    def accept(self, sampled: Sampled) -> None:
        """Append a token, and end if it is the last. Raises ValueError if the constraint does not know it."""
        if self.constraint is not None:
            self.constraint.advance(sampled.id)
        if self.counts is not None:
            self.counts.output[sampled.id] += 1
        self.output.append(sampled)
        if sampled.id in self.stop_ids or (self.constraint is not None and self.constraint.done):
            self.finish_reason = "stop"
        elif self.length >= self.max_len:
            self.finish_reason = "length"


# An odd number with its bits spread: the seeds of neighbouring choices are far apart, and no two choices share one.
_CHOICE_STRIDE = 0x9E3779B97F4A7C15

"""A turn: one request's part of a step, and the tokens that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled, adjusted, report, sample


@dataclass
class Turn:
    """One request's part of a step: its known ids from `start` on, then `drafts`, of which the first `forced` are certain.

    What comes of it is kept here until the whole step has been computed: `gained` tokens, the sum of the states of the
    prompt's part, and the log-probabilities of the ids after it.
    """

    request: Request
    tokens: int
    drafts: list[int] = field(default_factory=list)
    forced: int = 0
    gained: int = 0
    pooled: Tensor | None = None
    prompt_logprobs: list[Sampled] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.request.computed

    @property
    def end(self) -> int:
        """One past the last known id."""
        return self.start + self.tokens

    @property
    def decides(self) -> bool:
        """True if the next token follows from this step."""
        return self.request.finish_reason is None and self.end == self.request.length < self.request.max_len

    def decide(self, logits: Tensor, finite: Sequence[bool]) -> None:
        """Take the next token from the first row of `logits` `[1 + drafts, V]`, and one more a row while drafts are right.

        Nothing is taken from a row that is not `finite`. Whatever a grammar raises ends this request alone.
        """
        request = self.request
        for place, row in enumerate(logits):
            if not finite[place]:
                request.finish_reason = "not_finite"
                return
            try:
                request.accept(_choose(request, row, self.drafts[place] if place < self.forced else None))
            except Exception as error:  # noqa: BLE001
                request.finish_reason, request.error = "error", " ".join(str(error).split()) or type(error).__name__
                return
            self.gained += 1
            guessed = place < len(self.drafts) and self.drafts[place] == request.output[-1].id
            if request.finish_reason is not None or not guessed:
                return


def forced_ids(request: Request) -> list[int]:
    """The ids a grammar forces next; what is wrong with it will show when it is asked for its mask."""
    try:
        return request.constraint.forced() if request.constraint is not None else []
    except Exception:  # noqa: BLE001
        return []


def _choose(request: Request, row: Tensor, forced: int | None) -> Sampled:
    """The request's next token from its logits `[V]`: `forced` if there is no choice."""
    if forced is None:
        barred = request.barred()
        allowed = request.constraint.mask() if request.constraint is not None else None
        if allowed is not None and not allowed.any():
            raise ValueError("the grammar lets nothing follow")
        if allowed is not None and set(np.flatnonzero(allowed)[: len(barred) + 1]) <= set(barred):
            barred = ()  # where a grammar leaves nothing but the end, it has come
        fit = adjusted(row, request.params, counts=request.counts, allowed=allowed, barred=barred)
        forced = sample(fit, request.params, request.seed, request.length)
    return report(row, forced, request.params.logprobs)

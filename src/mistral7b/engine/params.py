"""SamplingParams: what a caller may ask of one completion, under the names vLLM made known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mistral7b.errors import RequestError

MAX_LOGPROBS = 64


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to choose tokens and when to end.

    `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 leave the distribution whole. `seed` None draws a fresh one. A
    completion ends at `max_tokens` (None: at the end of the context), at eos unless `ignore_eos`, at an id of
    `stop_token_ids`, or before the first of the `stop` strings (one or several), which is cut off. `logprobs` n reports each
    token with the n most probable ones. Raises RequestError naming the first value that makes no sense.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = 256
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else self._tuple("stop"))
        object.__setattr__(self, "stop_token_ids", self._tuple("stop_token_ids"))
        if not (_is_number(self.temperature) and 0 <= self.temperature < math.inf):
            raise RequestError(f"temperature must be a number of at least 0, not {self.temperature!r}")
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise RequestError(f"top_p must be above 0 and at most 1, not {self.top_p!r}")
        self._check_integer("top_k", self.top_k, 0)
        if self.seed is not None:
            self._check_integer("seed", self.seed, 0, 2**64 - 1)
        if self.max_tokens is not None:
            self._check_integer("max_tokens", self.max_tokens, 1)
        if self.logprobs is not None:
            self._check_integer("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        if any(not isinstance(text, str) or not text for text in self.stop):
            raise RequestError("every stop string must be a string of at least one character")
        for token in self.stop_token_ids:
            self._check_integer("stop_token_ids", token, 0)

    def _tuple(self, name: str) -> tuple[object, ...]:
        value = getattr(self, name)
        if value is not None and not isinstance(value, list | tuple):
            raise RequestError(f"{name} must be a list, not {value!r}")
        return tuple(value or ())

    @staticmethod
    def _check_integer(name: str, value: object, low: int, high: int | None = None) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise RequestError(f"{name} must be an integer {limits}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

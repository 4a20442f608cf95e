"""SamplingParams: what a caller may ask of one completion, under the names vLLM made known."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from mistral7b.errors import RequestError
from mistral7b.tokens.structured import StructuredOutput

MAX_LOGPROBS = 64
MAX_CHOICES = 64
# The bound of the OpenAI API: enough to force or forbid an id.
_MAX_BIAS = 100


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to choose tokens and when to end.

    `n` completions are made of one prompt. `temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 leave the
    distribution whole (`min_p` drops what is less than that share of the likeliest). `repetition_penalty` divides the
    positive logits, and multiplies the negative ones, of ids in prompt or output; `presence_penalty` is taken off every id
    of the output once and `frequency_penalty` once for each time it stands there; `logit_bias` is added. `seed` None draws
    a fresh one. A completion ends at `max_tokens` (None: at the end of the context), at eos unless `ignore_eos`, at an id
    of `stop_token_ids`, or before the first of the `stop` strings (one or several), which is cut off; none of these but
    the first before `min_tokens`. `logprobs` n reports each token with the n most probable ones, `prompt_logprobs` n those
    of the prompt. `structured` binds the text to a grammar. Raises RequestError naming the first value that makes no sense.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = None
    seed: int | None = None
    max_tokens: int | None = 256
    min_tokens: int = 0
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    structured: StructuredOutput | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else self._tuple("stop"))
        object.__setattr__(self, "stop_token_ids", self._tuple("stop_token_ids"))
        self._check_integer("n", self.n, 1, MAX_CHOICES)
        _check_number("temperature", self.temperature, 0)
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise RequestError(f"top_p must be above 0 and at most 1, not {self.top_p!r}")
        self._check_integer("top_k", self.top_k, 0)
        _check_number("min_p", self.min_p, 0, 1)
        if not (_is_number(self.repetition_penalty) and self.repetition_penalty > 0):
            raise RequestError(f"repetition_penalty must be a number above 0, not {self.repetition_penalty!r}")
        _check_number("presence_penalty", self.presence_penalty, -2, 2)
        _check_number("frequency_penalty", self.frequency_penalty, -2, 2)
        self._check_bias()
        if self.seed is not None:
            self._check_integer("seed", self.seed, 0, 2**64 - 1)
        if self.max_tokens is not None:
            self._check_integer("max_tokens", self.max_tokens, 0)
        self._check_integer("min_tokens", self.min_tokens, 0, self.max_tokens)
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is not None:
                self._check_integer(name, getattr(self, name), 0, MAX_LOGPROBS)
        if any(not isinstance(text, str) or not text for text in self.stop):
            raise RequestError("every stop string must be a string of at least one character")
        for token in self.stop_token_ids:
            self._check_integer("stop_token_ids", token, 0)

    @property
    def penalised(self) -> bool:
        """Whether the ids so far change what comes next."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    def _tuple(self, name: str) -> tuple[object, ...]:
        value = getattr(self, name)
        if value is not None and not isinstance(value, list | tuple):
            raise RequestError(f"{name} must be a list, not {value!r}")
        return tuple(value or ())

    def _check_bias(self) -> None:
        if self.logit_bias is not None and not isinstance(self.logit_bias, Mapping):
            raise RequestError(f"logit_bias must map token ids to numbers, not {self.logit_bias!r}")
        for token, bias in (self.logit_bias or {}).items():
            self._check_integer("a token id of logit_bias", token, 0)
            _check_number(f"the bias of token {token}", bias, -_MAX_BIAS, _MAX_BIAS)

    @staticmethod
    def _check_integer(name: str, value: object, low: int, high: int | None = None) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise RequestError(f"{name} must be an integer {limits}, not {value!r}")


def _check_number(name: str, value: object, low: float, high: float | None = None) -> None:
    if not (_is_number(value) and low <= value and (high is None or value <= high)):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise RequestError(f"{name} must be a number {limits}, not {value!r}")


def _is_number(value: object) -> TypeGuard[float]:
    """True for a finite number, an integer only if a float can be that large."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max

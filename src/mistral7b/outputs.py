"""What `LLM` returns, shaped like vLLM's outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from mistral7b.tokens.calls import ToolCall


@dataclass(frozen=True)
class Logprob:
    """Natural-log probability of an id before temperature; `rank` 1 is the likeliest; `decoded_token` is its piece."""

    logprob: float
    rank: int
    decoded_token: str | None


@dataclass
class CompletionOutput:
    """One completion. `logprobs[i]` maps ids to Logprob for token i: the chosen one and the likeliest. `index` counts the
    completions of one prompt."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: list[dict[int, Logprob]] | None = None
    cumulative_logprob: float | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)


@dataclass
class Timing:
    """Seconds from the request's arrival to its first token, and from there to its last."""

    first_token_s: float
    decode_s: float

    def tokens_per_second(self, tokens: int) -> float | None:
        """Decode speed over the tokens after the first; None where there is none."""
        return (tokens - 1) / self.decode_s if tokens > 1 and self.decode_s > 0 else None


@dataclass
class RequestOutput:
    """One prompt and its completions. `notes` tell what was changed in the messages and what to beware of, a line each.

    `cached_tokens` of the prompt were in the cache and not computed again. `prompt_logprobs[i]` is of token i of the prompt,
    None for the first, which follows nothing.
    """

    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    timing: Timing
    notes: list[str] = field(default_factory=list)
    cached_tokens: int = 0
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None


@dataclass(frozen=True)
class Delta:
    """What one token added to a stream: text that is final, and the output as it stands (complete when `finished`)."""

    text: str
    output: RequestOutput

    @property
    def finished(self) -> bool:
        """True for the last delta of a stream."""
        return self.output.finished

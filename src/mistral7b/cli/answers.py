"""An answer as a JSON object, and as the one line about it that ends a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral7b.cli.opening import Opened
from mistral7b.cli.terminal import note, tell
from mistral7b.engine.params import SamplingParams

if TYPE_CHECKING:
    from mistral7b.outputs import CompletionOutput, Logprob, RequestOutput


def answer_json(output: RequestOutput, opened: Opened, params: SamplingParams) -> dict[str, Any]:
    """The object of --json: seconds in `timing`, natural logarithms in `logprobs`, `seed` null where nothing was drawn."""
    completion, timing = output.outputs[0], output.timing
    prompt_tokens, tokens = len(output.prompt_token_ids), len(completion.token_ids)
    answer: dict[str, Any] = {
        "text": completion.text,
        "token_ids": completion.token_ids,
        "finish_reason": completion.finish_reason,
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens},
        "timing": {
            "load_s": opened.load_s,
            "first_token_s": timing.first_token_s,
            "decode_s": timing.decode_s,
            "tokens_per_s": timing.tokens_per_second(tokens),
        },
        "seed": drawn_with(params),
        "model": opened.to_json(),
        "notes": [*opened.checkpoint.notes, *output.notes],
    }
    if completion.tool_calls:
        answer["tool_calls"] = calls_json(completion)
    if completion.logprobs is not None:
        chosen = zip(completion.token_ids, completion.logprobs, strict=True)
        answer["logprobs"] = [_logprobs_json(id, ranked, params.logprobs or 0) for id, ranked in chosen]
    return answer


def calls_json(completion: CompletionOutput) -> list[dict[str, Any]]:
    """Tool calls as an assistant message of the OpenAI API holds them."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in completion.tool_calls
    ]


def drawn_with(params: SamplingParams) -> int | None:
    """The seed, where anything is drawn."""
    return params.seed if params.temperature > 0 else None


def tell_about(output: RequestOutput, params: SamplingParams, *, quiet: bool) -> None:
    """What a person should know once the answer is there: its notes, and unless `quiet` its summary."""
    for line in output.notes:
        note(line)
    if not quiet:
        tell(summary(output, params))


def summary(output: RequestOutput, params: SamplingParams) -> str:
    """Tokens, time to first token, speed, why it ended, and the seed to have it again."""
    completion, timing = output.outputs[0], output.timing
    tokens, seed = len(completion.token_ids), drawn_with(params)
    speed = timing.tokens_per_second(tokens)
    parts = [
        f"{len(output.prompt_token_ids):,} prompt tokens, {tokens:,} new",
        f"first after {_seconds(timing.first_token_s)}",
        f"{speed:,.1f} tokens/s" if speed is not None else "no speed to state",
        f"finish reason: {completion.finish_reason or 'stopped'}",
        *([f"seed {seed}"] if seed is not None else []),
    ]
    return ", ".join(parts)


def _seconds(s: float) -> str:
    return f"{1000 * s:.0f} ms" if s < 1 else f"{s:.1f} s"


def _logprobs_json(id: int, ranked: dict[int, Logprob], n: int) -> dict[str, Any]:
    likeliest = sorted(ranked.items(), key=lambda item: item[1].rank)[:n]
    return _logprob_json(id, ranked[id]) | {"top": [_logprob_json(other, held) for other, held in likeliest]}


def _logprob_json(id: int, held: Logprob) -> dict[str, Any]:
    return {"token_id": id, "token": held.decoded_token, "logprob": held.logprob, "rank": held.rank}

"""Texts that a model writes until they are told to stop, many at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mistral7b.api import LLM, SamplingParams, raise_failure
from mistral7b.errors import RequestError
from mistral7b.evals.forest import shared

# lm-eval's names for the most tokens of an answer, the first that is given counts.
_MOST = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING = ("top_p", "top_k", "min_p", "repetition_penalty")

Ask = tuple[Sequence[int], SamplingParams]


def asked(settings: Mapping[str, Any], *, eos: str, default_most: int, seed: int) -> SamplingParams:
    """The SamplingParams of lm-eval's generation arguments.

    It ends before the first of `until` and of the text `eos`, or after `default_most` tokens if none are said. It is greedy
    unless a temperature above 0 is given and `do_sample` is not false. Raises RequestError for an argument that is not known
    here, and for `do_sample` without a temperature.
    """
    left = dict(settings)
    until = left.pop("until", None) or []
    stop = [until] if isinstance(until, str) else list(until)
    most = next((int(left[name]) for name in _MOST if left.get(name) is not None), default_most)
    sample, temperature = left.pop("do_sample", None), float(left.pop("temperature", None) or 0.0)
    if sample and not temperature:
        raise RequestError("do_sample asks for a temperature above 0; give one, or leave do_sample out")
    sampling = {name: left.pop(name) for name in _SAMPLING if left.get(name) is not None}
    unknown = [name for name, value in left.items() if name not in (*_MOST, *_SAMPLING) and (name, value) != ("num_beams", 1)]
    if unknown:
        raise RequestError(f"generation argument {unknown[0]!r} is not known here; leave it out")
    stop = [text for text in (*stop, eos) if text]
    if sample is False or not temperature:
        penalty = {name: value for name, value in sampling.items() if name == "repetition_penalty"}
        return SamplingParams(temperature=0.0, max_tokens=most, stop=stop, **penalty)
    return SamplingParams(temperature=temperature, max_tokens=most, stop=stop, seed=seed, **sampling)


def write(llm: LLM, asks: Sequence[Ask], *, adapter: str | None = None) -> Iterator[tuple[int, str]]:
    """(its place, its text) of each of `asks`, (prompt ids, SamplingParams), as they end.

    Of a prompt that leaves no room for all the tokens it asks for, the last ids are kept. The space between a prompt and its
    text is not part of the text; after a prompt that ends in white space there is none, and each space is text, as the
    indent of a program is. Raises RequestError for an answer longer than the context, and what `LLM.generate` raises.
    """
    completions = []
    for prompt, params in asks:
        room = llm.max_model_len - (params.max_tokens or 0)
        if room < 1:
            raise RequestError(
                f"an answer of {params.max_tokens:,} tokens leaves no room for a question within {llm.max_model_len:,}; "
                "ask for fewer"
            )
        context = prompt if _ends_in_space(llm, prompt) else ()
        completions += llm.prepare(prompt[-room:], params, context_ids=context, adapter=adapter)
    if len(asks) > 1:
        _warm(llm, [completion.request.prompt for completion in completions], adapter)
    left = {completion.request: (place, completion) for place, completion in enumerate(completions)}
    try:
        for completion in completions:
            llm.engine.add(completion.request)
        while left:
            for request in llm.engine.step():
                raise_failure(request, llm.model.dtype)
                place, completion = left[request]
                while completion.behind:
                    completion.advance()
                if completion.ended:
                    llm.engine.cancel(request)
                    del left[request]
                    yield place, completion.text
    finally:
        for request in left:
            llm.engine.cancel(request)


def _ends_in_space(llm: LLM, prompt: Sequence[int]) -> bool:
    return llm.tokenizer is not None and llm.tokenizer.piece_bytes(prompt[-1])[-1:].isspace()


def _warm(llm: LLM, prompts: Sequence[Sequence[int]], adapter: str | None) -> None:
    """Compute what all prompts begin with, once, so that those that run side by side find it."""
    common = min(shared(prompts[0], prompt) for prompt in prompts)
    if common >= llm.engine.pool.page_tokens:
        params = SamplingParams(temperature=0.0, max_tokens=0)
        llm.generate([list(prompts[0][:common])], params, adapter=adapter)

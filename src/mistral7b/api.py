"""The door to the model: `load`, `LLM`, `SamplingParams`."""

from __future__ import annotations

import operator
import textwrap
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint
from mistral7b.checkpoint.load import Progress
from mistral7b.checkpoint.memory import available_bytes
from mistral7b.completion import Completion
from mistral7b.engine.engine import DEFAULT_CHUNK, Engine
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.errors import ChatError, NumericError, RequestError, TokenizerError
from mistral7b.loading import Loaded, check_fit, context_length, load, load_checkpoint, pick_device, pick_dtype
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import DEFAULT_PAGE_TOKENS, PagePool, PageRing, cache_bytes, ring_slots
from mistral7b.outputs import CompletionOutput, Delta, Logprob, RequestOutput
from mistral7b.store.names import resolve
from mistral7b.tokens import chat, guardrail
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TokenizerVersion

__all__ = ["LLM", "CompletionOutput", "Delta", "Loaded", "Logprob", "RequestOutput", "SamplingParams", "load"]

# Share of the memory left after the weights that the KV cache may take.
_CACHE_SHARE = 0.8


class LLM:
    """A model that answers.

    `max_model_len` bounds prompt and completion together, in tokens (default: what the model is configured for).
    `max_num_seqs` run at once, as many as memory has pages for. `chunk` is the most tokens of one prompt in a forward.
    Other arguments are those of `load`. Raises MemoryFitError, before any weight is read, if the model will not fit.
    """

    def __init__(
        self,
        model: str | Path = "tiny",
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        max_model_len: int | None = None,
        max_num_seqs: int = 16,
        chunk: int | None = None,
        variant: str | None = None,
        tokenizer_version: TokenizerVersion | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> None:
        for name, value in (("max_model_len", max_model_len), ("max_num_seqs", max_num_seqs), ("chunk", chunk)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise RequestError(f"{name} must be an integer of at least 1, not {value!r}")
        checkpoint = open_checkpoint(resolve(model), force=force)
        self.max_model_len = context_length(checkpoint, max_model_len)
        kind, place = pick_dtype(dtype, checkpoint), pick_device(device)
        room = self._room(checkpoint, kind, place)
        chunk = chunk or checkpoint.config.sliding_window or DEFAULT_CHUNK
        if not force:
            check_fit(checkpoint, kind, place, self.max_model_len, chunk)
        loaded = load_checkpoint(
            checkpoint, dtype=kind, device=place, variant=variant, tokenizer_version=tokenizer_version, force=force,
            progress=progress,
        )  # fmt: skip
        self.model, self.tokenizer, self.checkpoint = loaded.model, loaded.tokenizer, loaded.checkpoint
        self.engine = Engine(
            self.model,
            self._pool(max_num_seqs, chunk, room),
            max_model_len=self.max_model_len,
            max_num_seqs=max_num_seqs,
            chunk=chunk,
        )

    def generate(
        self,
        prompts: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[RequestOutput]:
        """Complete one prompt or many, as text or as ids; one output a prompt, in their order.

        A text prompt is encoded with one BOS before it and nothing else; ids are taken as they are. `params` is one for
        all, or one a prompt. Raises RequestError for an empty prompt, one that leaves no room in the context, or an id
        outside the vocabulary; then nothing has run.
        """
        several = _as_prompts(prompts)
        each = list(params) if isinstance(params, list | tuple) else [_one(params)] * len(several)
        if len(each) != len(several):
            raise RequestError(f"{len(several)} prompts but {len(each)} SamplingParams; give one for all or one for each")
        completions = [self._completion(prompt, one) for prompt, one in zip(several, each, strict=True)]
        self._run(completions)
        return [completion.output() for completion in completions]

    def stream(self, prompt: str | Sequence[int], params: SamplingParams | None = None) -> Generator[Delta]:
        """Like `generate` for one prompt, a Delta a token; joined, their texts are `generate`'s text."""
        return self._stream(self._completion(prompt, _one(params)))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        safe_prompt: bool = False,
    ) -> list[RequestOutput]:
        """Answer one conversation or many, of OpenAI-shaped messages; one output each.

        Tool calls stand in `.outputs[0].tool_calls` and not in its text. `safe_prompt` puts the paper's guardrail before
        the system prompt. What normalisation changed is in `notes`. Raises ChatError for what no template can hold.
        """
        if not isinstance(messages, list | tuple):
            raise ChatError(f"messages must be a list of messages, not a {type(messages).__name__}")
        single = len(messages) == 0 or isinstance(messages[0], Mapping)
        conversations: Sequence[Any] = [messages] if single else messages
        completions = [self._reply(turns, _one(params), tools, safe_prompt) for turns in conversations]
        self._run(completions)
        return [self._with_calls(completion.output()) for completion in completions]

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        safe_prompt: bool = False,
    ) -> Generator[Delta]:
        """Like `chat` for one conversation, a Delta a token. Text streams as it comes, that of a tool call too; the last
        delta's output has the calls parsed."""
        return self._stream_reply(self._reply(messages, _one(params), tools, safe_prompt))

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """fp32 logits `[n, vocab]` of `ids`, each row the same bits that generation sees. Raises RequestError."""
        ids = self._checked(ids)
        if len(ids) > self.max_model_len:
            raise RequestError(f"{len(ids):,} ids are more than max_model_len {self.max_model_len:,}")
        config, chunk = self.model.config, self.engine.chunk
        slots = ring_slots(config.sliding_window, chunk, DEFAULT_PAGE_TOKENS, len(ids))
        pool = PagePool(config, slots, dtype=self.model.dtype, device=self.model.device)
        ring, rows = PageRing(pool, slots, config.sliding_window), []
        for start in range(0, len(ids), chunk):
            end = min(start + chunk, len(ids))
            ring.extend(end)
            rows.append(self.model(TokenBatch.pack([Span(ids[start:end], start, ring.table, "all")]), pool))
            ring.retire(end)
        return torch.cat(rows)

    @staticmethod
    def _room(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> int | None:
        """Bytes the KV cache may take: a share of what the weights will leave; None where the system does not say.

        Asked before loading: weights that are pages of a file are not missing from what the system calls available.
        """
        there = available_bytes(device)
        return None if there is None else int(_CACHE_SHARE * (there - checkpoint.config.n_params * dtype.itemsize))

    def _pool(self, max_num_seqs: int, chunk: int, room: int | None) -> PagePool:
        """Pages for every sequence at its longest, or as many as there is room for, but for one sequence at the least."""
        config = self.model.config
        each = ring_slots(config.sliding_window, chunk, DEFAULT_PAGE_TOKENS, self.max_model_len)
        page = cache_bytes(config, DEFAULT_PAGE_TOKENS, self.model.dtype.itemsize)
        pages = each * max_num_seqs if room is None else min(each * max_num_seqs, room // page)
        return PagePool(config, max(each, pages), dtype=self.model.dtype, device=self.model.device)

    def _completion(self, prompt: str | Sequence[int], params: SamplingParams) -> Completion:
        text = prompt if isinstance(prompt, str) else None
        if isinstance(prompt, str):
            if not prompt:
                raise RequestError("the prompt is empty; give at least one character")
            ids = self._tokenizer_for("a text prompt").encode(prompt, bos=True)
        else:
            ids = self._checked(prompt)
        return Completion(self._request(ids, params), self.tokenizer, prompt=text, context_ids=ids, notes=self._warnings(ids))

    def _reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams,
        tools: Sequence[Mapping[str, Any]] | None,
        safe_prompt: bool,
    ) -> Completion:
        tokenizer = self._tokenizer_for("chat")
        rendered = chat.render(tokenizer, guardrail.with_safe_prompt(messages) if safe_prompt else messages, tools)
        notes = rendered.notes + self._warnings(rendered.ids)
        return Completion(self._request(rendered.ids, params), tokenizer, context_ids=rendered.prefix_ids, notes=notes)

    def _request(self, ids: Sequence[int], params: SamplingParams) -> Request:
        if len(ids) >= self.max_model_len:
            raise RequestError(
                f"the prompt has {len(ids):,} tokens, which leaves no room for an answer within max_model_len "
                f"{self.max_model_len:,}; shorten it or raise max_model_len"
            )
        if params.stop and self.tokenizer is None:
            raise RequestError("stop strings need a tokenizer, and this model folder has none; use stop_token_ids")
        return Request.make(ids, params, self.max_model_len, self.checkpoint.eos_ids)

    def _checked(self, ids: Any) -> list[int]:
        """`ids`, of any kind of integers, as a list; raises RequestError for none, or for one that is no id."""
        found, vocabulary = [], self.model.config.vocab_size
        for id in ids:
            try:
                found.append(operator.index(id))
            except TypeError:
                found.append(-1)
            if isinstance(id, bool) or not 0 <= found[-1] < vocabulary:
                shown = textwrap.shorten(repr(id), 40)
                raise RequestError(f"{shown} is not a token id of this model; ids are integers from 0 to {vocabulary - 1}")
        if not found:
            raise RequestError("the prompt is empty; give at least one token")
        return found

    def _tokenizer_for(self, use: str) -> Tokenizer:
        if self.tokenizer is None:
            raise TokenizerError(f"{use} needs a tokenizer, and this model folder has none; add its tokenizer.model or pass ids")
        return self.tokenizer

    def _warnings(self, ids: Sequence[int]) -> list[str]:
        trained = self.checkpoint.trained_context
        if trained is None or len(ids) <= trained:
            return []
        config = self.model.config
        window = config.sliding_window
        reach = f", and in theory can carry information over {config.n_layers * window:,}" if window else ""
        return [
            f"the prompt has {len(ids):,} tokens: this model was trained at {trained:,}, is configured for "
            f"{self.checkpoint.max_positions or self.max_model_len:,}{reach}; expect worse answers past what it was trained at"
        ]

    def _run(self, completions: Sequence[Completion]) -> None:
        for _ in self._follow(completions):
            pass

    def _stream(self, completion: Completion) -> Generator[Delta]:
        for text in self._follow([completion]):
            yield Delta(text, completion.output())

    def _stream_reply(self, completion: Completion) -> Generator[Delta]:
        for delta in self._stream(completion):
            yield Delta(delta.text, self._with_calls(delta.output)) if delta.finished else delta

    def _follow(self, completions: Sequence[Completion]) -> Iterator[str]:
        """Drive the engine until all of `completions` have ended; yields the text each token makes final.

        Raises NumericError if the logits of one of them are not finite.
        """
        for completion in completions:
            self.engine.add(completion.request)
        try:
            while not all(completion.ended for completion in completions):
                # A step may be another stream's: what it gave these requests is waiting for them.
                for completion in completions:
                    while completion.behind:
                        text = completion.advance()
                        if completion.ended:
                            self.engine.cancel(completion.request)
                        yield text
                self.engine.step()
                if any(completion.request.finish_reason == "not_finite" for completion in completions):
                    raise NumericError(
                        f"the model gives logits that are not finite in {str(self.model.dtype).removeprefix('torch.')}; try "
                        "another dtype, and look for damaged weights with mistral7b verify"
                    )
        finally:
            for completion in completions:
                self.engine.cancel(completion.request)

    def _with_calls(self, output: RequestOutput) -> RequestOutput:
        assert self.tokenizer is not None
        for completion in output.outputs:
            if not isinstance(completion.stop_reason, str):
                known = [id for id in completion.token_ids if id < self.tokenizer.vocab_size]
                parsed = chat.parse(self.tokenizer, known)
                if parsed.tool_calls:
                    completion.text, completion.tool_calls = parsed.content, parsed.tool_calls
        return output


def _as_prompts(prompts: Any) -> list[str | Sequence[int]]:
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, bytes | Mapping) or not isinstance(prompts, Iterable):
        raise RequestError(f"a prompt is text or a list of token ids, not a {type(prompts).__name__}")
    several = list(prompts)
    if not several:
        raise RequestError("the prompt is empty; give at least one token")
    nested = isinstance(several[0], str | list | tuple) or getattr(several[0], "ndim", 0) > 0
    return several if nested else [several]


def _one(params: Any) -> SamplingParams:
    if params is not None and not isinstance(params, SamplingParams):
        raise RequestError(f"params must be SamplingParams, not a {type(params).__name__}")
    return params or SamplingParams()

"""The door to the model: `load`, `LLM`, `SamplingParams`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mistral7b.checkpoint.adapters import read_adapter
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import Progress
from mistral7b.completion import Completion, gather
from mistral7b.engine.constraint import Constraint
from mistral7b.engine.engine import DEFAULT_CHUNK, DEFAULT_DRAFT, Engine
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.errors import ChatError, NumericError, RequestError, TokenizerError
from mistral7b.kernels.choice import KernelsName
from mistral7b.kernels.interface import Kernels
from mistral7b.kernels.native_room import undisturbed
from mistral7b.loading import (
    Loaded,
    cache_room,
    check_fit,
    context_length,
    load,
    load_checkpoint,
    make_drafts,
    make_pool,
    pick_device,
    pick_dtype,
    pick_kv_dtype,
    put_adapters,
    stays_packed,
)
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import DEFAULT_PAGE_TOKENS, PagePool, PageRing, ring_slots
from mistral7b.outputs import CompletionOutput, Delta, Logprob, RequestOutput
from mistral7b.prompts import as_prompts, check_params, check_room, checked_ids, length_notes
from mistral7b.store.names import resolve
from mistral7b.tokens import chat
from mistral7b.tokens.structured import StructuredOutput
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TokenizerVersion

if TYPE_CHECKING:  # llguidance is loaded when a grammar is first asked for
    from mistral7b.grammar.grammars import Grammars

__all__ = [
    "LLM",
    "CompletionOutput",
    "Delta",
    "Loaded",
    "Logprob",
    "RequestOutput",
    "SamplingParams",
    "StructuredOutput",
    "load",
]


class LLM:
    """A model that answers.

    `max_model_len` bounds prompt and completion together, in tokens (default: what the model is configured for).
    `max_num_seqs` run at once, as many as memory has pages for. `chunk` is the most tokens of one prompt in a forward, and
    `max_num_batched_tokens` of all. Keys and values are cached as `kv_dtype`: "auto" as the model computes, "bfloat16", or
    "int8", half as large, with a scale for each token and head. Prompts that begin alike share that part's cache unless
    `enable_prefix_caching` is off. With `speculative`, up to `num_speculative_tokens` that stood there before, or that
    `draft_model`, a smaller model of the same vocabulary, proposes, are tried at once: the answer is the same, sooner.
    `adapters` are LoRA folders by name; a call names the one its answer goes through, and without a name it is the model alone.
    Requests of all adapters share one batch. Other arguments are those of `load`.
    Raises MemoryFitError, before any weight is read, if the model will not fit.
    """

    def __init__(
        self,
        model: str | Path = "tiny",
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        kernels: KernelsName | Kernels = "auto",
        kv_dtype: str = "auto",
        max_model_len: int | None = None,
        max_num_seqs: int = 16,
        chunk: int | None = None,
        max_num_batched_tokens: int | None = None,
        enable_prefix_caching: bool = True,
        speculative: bool = True,
        num_speculative_tokens: int = DEFAULT_DRAFT,
        draft_model: str | Path | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        variant: str | None = None,
        tokenizer_version: TokenizerVersion | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> None:
        for name, value in (
            ("max_model_len", max_model_len), ("max_num_seqs", max_num_seqs), ("chunk", chunk),
            ("max_num_batched_tokens", max_num_batched_tokens), ("num_speculative_tokens", num_speculative_tokens),
        ):  # fmt: skip
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise RequestError(f"{name} must be an integer of at least 1, not {value!r}")
        checkpoint = open_checkpoint(resolve(model), force=force)
        self.max_model_len = context_length(checkpoint, max_model_len)
        # Before the weights, which take a while.
        read = {name: read_adapter(Path(path), checkpoint.config) for name, path in (adapters or {}).items()}
        kind, place = pick_dtype(dtype, checkpoint), pick_device(device)
        cached, packed = pick_kv_dtype(kv_dtype, kind), stays_packed(dtype, place)
        room = cache_room(checkpoint, kind, place, packed=packed)
        chunk = chunk or checkpoint.config.sliding_window or DEFAULT_CHUNK
        if not force:
            check_fit(checkpoint, kind, place, self.max_model_len, chunk, cached, packed=packed)
        loaded = load_checkpoint(
            checkpoint, dtype=kind, device=place, kernels=kernels, packed=packed, variant=variant,
            tokenizer_version=tokenizer_version,
            force=force, progress=progress,
        )  # fmt: skip
        self.model, self.tokenizer, self.checkpoint = loaded.model, loaded.tokenizer, loaded.checkpoint
        self.adapters = put_adapters(self.model, read)
        self.engine = Engine(
            self.model,
            make_pool(self.model, max_num_seqs, chunk, self.max_model_len, room, cached),
            max_model_len=self.max_model_len,
            max_num_seqs=max_num_seqs,
            chunk=chunk,
            max_num_batched_tokens=max_num_batched_tokens,
            prefix_caching=enable_prefix_caching,
            drafts=make_drafts(loaded, draft_model, max_num_seqs, num_speculative_tokens, self.max_model_len)
            if speculative
            else None,
            num_draft_tokens=num_speculative_tokens,
        )

    @cached_property
    def grammars(self) -> Grammars:
        """The grammars that can bind what this model writes. Raises TokenizerError if it has no tokenizer."""
        from mistral7b.grammar.grammars import Grammars

        return Grammars(self._tokenizer_for("structured output"))

    def generate(
        self,
        prompts: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | None = None,
    ) -> list[RequestOutput]:
        """Complete one prompt or many, as text or as ids; one output a prompt, in their order.

        A text prompt is encoded with one BOS before it and nothing else; ids are taken as they are. `params` is one for
        all, or one a prompt. Raises RequestError for an empty prompt, one that leaves no room in the context, or an id
        outside the vocabulary; then nothing has run.
        """
        several = as_prompts(prompts)
        each = _each(params, len(several), "prompts")
        groups = [self._completions(prompt, one, adapter) for prompt, one in zip(several, each, strict=True)]
        self._run(groups)
        return [gather(group) for group in groups]

    def stream(
        self, prompt: str | Sequence[int], params: SamplingParams | None = None, *, adapter: str | None = None
    ) -> Generator[Delta]:
        """Like `generate` for one prompt, a Delta a token; joined, their texts are `generate`'s text."""
        return self._stream(self._completions(prompt, _single(params), adapter))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        safe_prompt: bool = False,
        adapter: str | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation or many, of OpenAI-shaped messages; one output each. `params` is one for all, or one each.

        Tool calls stand in `.outputs[0].tool_calls` and not in its text. `safe_prompt` puts the paper's guardrail before
        the system prompt. What normalisation changed is in `notes`. Raises ChatError for what no template can hold.
        """
        if not isinstance(messages, list | tuple):
            raise ChatError(f"messages must be a list of messages, not a {type(messages).__name__}")
        single = len(messages) == 0 or isinstance(messages[0], Mapping)
        conversations: Sequence[Any] = [messages] if single else messages
        each = _each(params, len(conversations), "conversations")
        pairs = zip(conversations, each, strict=True)
        groups = [self._replies(turns, one, tools, safe_prompt, adapter) for turns, one in pairs]
        self._run(groups)
        return [self._with_calls(gather(group)) for group in groups]

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        safe_prompt: bool = False,
        adapter: str | None = None,
    ) -> Generator[Delta]:
        """Like `chat` for one conversation, a Delta a token. Text streams as it comes, that of a tool call too; the last
        delta's output has the calls parsed."""
        return self.stream_prepared(self._replies(messages, _single(params), tools, safe_prompt, adapter))

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], *, adapter: str | None = None) -> Tensor:
        """fp32 logits `[n, vocab]` of `ids`, each row the same bits that generation sees. Raises RequestError."""
        ids = checked_ids(ids, self.model.config.vocab_size)
        check_room(len(ids), self.max_model_len, answer=False)
        config, chunk = self.model.config, self.engine.chunk
        slots = ring_slots(config.sliding_window, chunk, DEFAULT_PAGE_TOKENS, len(ids))
        pool = PagePool(config, slots, dtype=self.engine.pool.k.dtype, device=self.model.device)
        ring, rows = PageRing(pool, slots, config.sliding_window), []
        with undisturbed(self.model.kernels):
            for start in range(0, len(ids), chunk):
                end = min(start + chunk, len(ids))
                ring.extend(end)
                span = Span(ids[start:end], start, ring.table, "all", self.route(adapter)[0])
                rows.append(self.model(TokenBatch.pack([span]), pool))
                ring.retire(end)
        return torch.cat(rows)

    def prepare(
        self,
        ids: Sequence[int],
        params: SamplingParams,
        *,
        prompt: str | None = None,
        context_ids: Sequence[int] = (),
        constraint: Callable[[], Constraint] | None = None,
        calls_marker: int | None = None,
        priority: int = 0,
        notes: Sequence[str] = (),
        adapter: str | None = None,
    ) -> list[Completion]:
        """`params.n` completions of a prompt, not yet queued. Raises RequestError for what the model cannot run.

        `context_ids` and `calls_marker` are those of Completion; `constraint` makes the grammar of each, in place of
        `params.structured`.
        """
        ids = checked_ids(ids, self.model.config.vocab_size)
        check_room(len(ids), self.max_model_len, answer=params.max_tokens != 0)
        check_params(params, self.model.config.vocab_size, has_tokenizer=self.tokenizer is not None)
        notes = [*notes, *length_notes(len(ids), self.checkpoint, self.max_model_len)]
        if params.structured is not None and constraint is None:
            constraint = partial(self.grammars.constraint, params.structured, reply=self._begins(context_ids))
        made: list[Completion] = []
        for choice in range(params.n):
            request = Request.make(
                ids, params, self.max_model_len, self.checkpoint.eos_ids, choice=choice, priority=priority,
                leader=made[0].request if made and self.engine.prefix_caching else None,
                constraint=constraint() if constraint is not None else None,
            )  # fmt: skip
            request.adapter, request.salt = self.route(adapter)
            made.append(
                Completion(
                    request, self.tokenizer, index=choice, prompt=prompt, context_ids=context_ids, notes=notes,
                    calls_marker=calls_marker,
                )
            )  # fmt: skip
        return made

    def stream_prepared(self, completions: Sequence[Completion]) -> Generator[Delta]:
        """Run what `prepare` made of one chat, as `stream_chat` does."""
        for delta in self._stream(completions):
            yield Delta(delta.text, self._with_calls(delta.output)) if delta.finished else delta

    def embed_request(self, ids: Sequence[int], *, adapter: str | None = None) -> Request:
        """A request for the sum of the final normed states of `ids`, in `pooled` when it has ended. Raises RequestError."""
        ids = checked_ids(ids, self.model.config.vocab_size)
        check_room(len(ids), self.max_model_len, answer=False)
        request = Request.make(ids, SamplingParams(temperature=0, max_tokens=0), self.max_model_len, ())
        request.adapter, request.salt = self.route(adapter)
        request.pooled = torch.zeros(self.model.config.dim, dtype=torch.float64, device=self.model.device)
        return request

    def route(self, adapter: str | None) -> tuple[int | None, bytes]:
        """(The adapter's number as requests know it, the salt of its cached prefixes). Raises RequestError for an unknown one."""
        if adapter is None:
            return (-1 if self.adapters else None), b""
        if adapter not in self.adapters:
            raise RequestError(f"there is no adapter {adapter!r} here; known are {', '.join(self.adapters) or 'none'}")
        return self.adapters[adapter], f"adapter {self.adapters[adapter]}".encode()

    def _begins(self, context_ids: Sequence[int]) -> bool:
        """Whether what follows `context_ids` is a text of its own, whose first space is none (see Detokenizer)."""
        return not context_ids or self._tokenizer_for("structured output").is_control(context_ids[-1])

    def _completions(self, prompt: str | Sequence[int], params: SamplingParams, adapter: str | None) -> list[Completion]:
        if not isinstance(prompt, str):
            ids = checked_ids(prompt, self.model.config.vocab_size)
            return self.prepare(ids, params, context_ids=ids, adapter=adapter)
        if not prompt:
            raise RequestError("the prompt is empty; give at least one character")
        ids = self._tokenizer_for("a text prompt").encode(prompt, bos=True)
        return self.prepare(ids, params, prompt=prompt, context_ids=ids, adapter=adapter)

    def _replies(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams,
        tools: Sequence[Mapping[str, Any]] | None,
        safe_prompt: bool,
        adapter: str | None,
    ) -> list[Completion]:
        tokenizer = self._tokenizer_for("chat")
        rendered = chat.render(tokenizer, messages, tools, safe_prompt=safe_prompt)
        return self.prepare(rendered.ids, params, context_ids=rendered.prefix_ids, notes=rendered.notes, adapter=adapter)

    def _tokenizer_for(self, use: str) -> Tokenizer:
        if self.tokenizer is None:
            raise TokenizerError(f"{use} needs a tokenizer, and this model folder has none; add its tokenizer.model or pass ids")
        return self.tokenizer

    def _run(self, groups: Sequence[Sequence[Completion]]) -> None:
        for _ in self._follow([completion for group in groups for completion in group]):
            pass

    def _stream(self, completions: Sequence[Completion]) -> Generator[Delta]:
        for text in self._follow(completions):
            yield Delta(text, gather(completions))
        if not completions[0].n_tokens:
            yield Delta("", gather(completions))

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
                for completion in completions:
                    raise_failure(completion.request, self.model.dtype)
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


def _one(params: Any) -> SamplingParams:
    if params is not None and not isinstance(params, SamplingParams):
        raise RequestError(f"params must be SamplingParams, not a {type(params).__name__}")
    return params or SamplingParams()


def _each(params: Any, count: int, what: str) -> list[SamplingParams]:
    each = [_one(one) for one in params] if isinstance(params, list | tuple) else [_one(params)] * count
    if len(each) != count:
        raise RequestError(f"{count} {what} but {len(each)} SamplingParams; give one for all or one for each")
    return each


def _single(params: Any) -> SamplingParams:
    one = _one(params)
    if one.n != 1:
        raise RequestError(f"a stream is one completion, not n={one.n}; use generate or chat")
    return one


def raise_failure(request: Request, dtype: torch.dtype) -> None:
    """Raises NumericError if the logits of `request` were not finite, RequestError if its grammar failed."""
    if request.finish_reason == "not_finite":
        raise NumericError(
            f"the model gives logits that are not finite in {str(dtype).removeprefix('torch.')}; try another dtype, and look "
            "for damaged weights with mistral7b verify"
        )
    if request.finish_reason == "error":
        raise RequestError(f"the completion cannot go on: {request.error}")

"""Drafts by a smaller network of the same vocabulary (speculative decoding, arXiv 2211.17192)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from mistral7b.config import ModelConfig
from mistral7b.engine.request import Request
from mistral7b.engine.sampler import adjusted, sample
from mistral7b.errors import MismatchError
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import PagePool, PageRing, ring_slots
from mistral7b.model.transformer import Transformer
from mistral7b.tokens.tokenizer import Tokenizer

DEFAULT_CATCH_UP = 256
_ADVICE = "choose a draft model of the same vocabulary as the model's"
_FADE = 0.9  # a forward measured n forwards ago counts 0.9**n in what an id costs


@dataclass
class _Reader:
    """How far the draft network has read one request, and the ids it guesses now."""

    request: Request
    ring: PageRing
    max_len: int
    pages: int  # that it can ever hold
    computed: int = 0
    most: int = 0
    drafts: list[int] = field(default_factory=list)  # what follows `computed` ids; all but the last have been run

    @property
    def writing(self) -> bool:
        """True while another draft is wanted behind the last."""
        return 0 < len(self.drafts) < self.most and self.drafts[-1] not in self.request.stop_ids


class DraftModel:
    """A Drafter: `model` reads what the request has written, then writes on as the request itself would.

    It draws with the request's parameters, seed and positions, so it agrees with the target wherever their distributions
    do. Its keys and values live in `pool`; a request that may need more pages than nobody has been promised gets no drafts,
    nor does one beyond `max_model_len`. Per step and over all requests it reads at most `catch_up` ids, a long prompt over
    several steps, with no drafts until then. `clock` gives seconds, for `id_seconds`.
    """

    def __init__(
        self,
        model: Transformer,
        pool: PagePool,
        *,
        max_model_len: int,
        num_draft_tokens: int = 7,
        catch_up: int = DEFAULT_CATCH_UP,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.model = model
        self.pool = pool
        self.window = model.config.sliding_window
        self.max_model_len = max_model_len
        self.num_draft_tokens = num_draft_tokens
        self.catch_up = max(catch_up, num_draft_tokens + 1)
        # Drafted tokens are written behind the committed ones as a chunk would be, and never are more than one holds.
        self.slots = ring_slots(self.window, self.catch_up, pool.page_tokens, max_model_len)
        self._clock = clock
        self._id_seconds = 0.0
        self._readers: dict[Request, _Reader] = {}
        self._promised = 0

    @property
    def id_seconds(self) -> float:
        """As PricedDrafter: a running mean of what a forward takes that reads few ids; 0 until one has been measured."""
        return self._id_seconds

    @torch.inference_mode()
    def propose(self, wanted: Sequence[tuple[Request, int]]) -> list[list[int]]:
        """As Drafter: one forward to read, then one for each further id, over all requests that still want one."""
        asked: list[_Reader] = []
        for request, most in wanted:
            reader = self._reader(request)
            if reader is not None:
                reader.most = min(most, self.num_draft_tokens, reader.max_len - request.length)
                asked += [reader] * (reader.most > 0)
        self._read(asked)
        while writing := [reader for reader in asked if reader.writing]:
            self._forward(writing, [self._next_span(reader) for reader in writing])
        drafts = {reader.request: reader.drafts[: reader.most] for reader in asked}
        return [drafts.get(request, []) for request, _ in wanted]

    def observe(self, request: Request, drafted: int, accepted: int) -> None:
        """As Drafter. A rejected draft needs no undoing (see PageRing): its positions are written again."""

    def leave(self, request: Request) -> None:
        """As Drafter: gives the request's pages back."""
        reader = self._readers.pop(request, None)
        if reader is not None:
            reader.ring.release()
            self._promised -= reader.pages

    def _reader(self, request: Request) -> _Reader | None:
        """The request's reader; None if the pool or the draft's length cannot hold it, now or ever."""
        reader = self._readers.get(request)
        if reader is None and request.length < self.max_model_len:
            max_len = min(request.max_len, self.max_model_len)
            pages = ring_slots(self.window, self.catch_up, self.pool.page_tokens, max_len)
            if self._promised + pages <= self.pool.n_pages:
                self._promised += pages
                ring = PageRing(self.pool, self.slots, self.window)
                reader = self._readers[request] = _Reader(request, ring, max_len, pages)
        return reader

    def _read(self, readers: Sequence[_Reader]) -> None:
        """One forward over ids not read yet, those with the fewest first; who has then read all gets a first draft."""
        spans, reading, left = [], [], self.catch_up
        behind = [reader for reader in readers if reader.computed < reader.request.length]
        for reader in sorted(behind, key=lambda reader: reader.request.length - reader.computed):
            reader.drafts = []
            length = reader.request.length
            end = min(length, reader.computed + left)
            if end > reader.computed:
                left -= end - reader.computed
                reader.ring.extend(end)
                ids = reader.request.ids(reader.computed, end)
                spans.append(Span(ids, reader.computed, reader.ring.table, "last" if end == length else "none"))
                reading.append((reader, end))
        if spans:
            self._forward([reader for reader, end in reading if end == reader.request.length], spans)
        for reader, end in reading:
            reader.computed = end
            reader.ring.retire(end)

    def _next_span(self, reader: _Reader) -> Span:
        """The newest draft, to be run at its position."""
        position = reader.request.length + len(reader.drafts) - 1
        reader.ring.extend(position + 1)
        return Span(reader.drafts[-1:], position, reader.ring.table)

    def _forward(self, readers: Sequence[_Reader], spans: Sequence[Span]) -> None:
        """Run `spans`, and give each of `readers` one draft more from its logits, in their order; none if not finite."""
        started = self._clock()
        logits = self.model(TokenBatch.pack(spans), self.pool)
        for reader, row, finite in zip(readers, logits, logits.isfinite().all(-1).tolist(), strict=True):
            request = reader.request
            if not finite:
                reader.most = len(reader.drafts)
                continue
            fit = adjusted(row, request.params, counts=request.counts, barred=request.barred())
            reader.drafts.append(sample(fit, request.params, request.seed, request.length + len(reader.drafts)))
        if sum(len(span.ids) for span in spans) <= len(spans) * (self.num_draft_tokens + 1):
            taken = self._clock() - started
            self._id_seconds = _FADE * self._id_seconds + (1 - _FADE) * taken if self._id_seconds else taken


def check_pair(target: ModelConfig, draft: ModelConfig, target_tokens: Tokenizer | None, draft_tokens: Tokenizer | None) -> None:
    """Raises MismatchError unless every id means the same to both models; a tokenizer that is not there is not compared.

    Nor are ids that are a control token to either: the published files of v3 differ in them (FACTS 3.2), and a network
    sees no names. A draft that understands one of them otherwise is slower there, not wrong.
    """
    counted = [("", target.vocab_size, draft.vocab_size)]
    if target_tokens is not None and draft_tokens is not None:
        counted.append(("tokenizer of the ", target_tokens.vocab_size, draft_tokens.vocab_size))
    for whose, ours, theirs in counted:
        if ours != theirs:
            raise MismatchError(f"the {whose}draft model has {theirs:,} ids, not {ours:,}; {_ADVICE}")
    if target_tokens is None or draft_tokens is None:
        return
    for id in range(target_tokens.vocab_size):
        same = target_tokens.piece(id) == draft_tokens.piece(id)
        if not (same or target_tokens.is_control(id) or draft_tokens.is_control(id)):
            pieces = f"{draft_tokens.piece(id)!r} to the draft model and {target_tokens.piece(id)!r} to the model"
            raise MismatchError(f"id {id} is {pieces}; {_ADVICE}")

"""The engine: requests of ids in, ids out, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from mistral7b.engine.drafts import Drafts
from mistral7b.engine.prefix import find_prefix, label_pages
from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Counts, report
from mistral7b.engine.scheduler import Scheduler
from mistral7b.engine.stats import EngineStats
from mistral7b.engine.turn import Turn, forced_ids
from mistral7b.kernels.native_room import undisturbed
from mistral7b.model import snapshot
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import PagePool, PageRing, ring_slots
from mistral7b.model.transformer import Transformer

# The reference kernels gain nothing from longer chunks, and without a window nothing else bounds one.
DEFAULT_CHUNK = 4096
DEFAULT_DRAFT = 7
# Rows of a prompt whose logits are held at once: 32 MiB of fp32 at 32,768 ids.
_PROMPT_ROWS = 256


class Engine:
    """Runs many requests over one model and one pool of pages. It knows ids only, no text.

    No request may be longer than `max_model_len`. `chunk` is the most tokens of one sequence in a forward, by default the
    window (paper, section 2, figure 3), and `max_num_batched_tokens` the most of all. `drafts` are asked for up to
    `num_draft_tokens` ids that may come next; they change how fast ids come, never which.
    """

    def __init__(
        self,
        model: Transformer,
        pool: PagePool,
        *,
        max_model_len: int,
        max_num_seqs: int = 16,
        chunk: int | None = None,
        max_num_batched_tokens: int | None = None,
        prefix_caching: bool = True,
        drafts: Drafts | None = None,
        num_draft_tokens: int = DEFAULT_DRAFT,
    ) -> None:
        self.model = model
        self.pool = pool
        self.window = model.config.sliding_window
        self.chunk = chunk or self.window or DEFAULT_CHUNK
        # All page tables are of one length, that of the longest request; a shorter one leaves slots empty.
        self.slots = ring_slots(self.window, self.chunk, pool.page_tokens, max_model_len)
        self.prefix_caching = prefix_caching
        self.drafts = drafts
        self.num_draft_tokens = num_draft_tokens
        self.stats = EngineStats()
        self.scheduler = Scheduler(
            pool.n_pages,
            max_num_seqs=max_num_seqs,
            chunk=self.chunk,
            budget=max(max_num_batched_tokens or self.chunk, max_num_seqs),
            pages_needed=self.pages_needed,
        )

    def pages_needed(self, request: Request, end: int) -> int:
        """The pages `request` must hold to run its ids below `end`; with a window, the most it can ever hold."""
        reach = end if self.window is None else request.max_len
        return ring_slots(self.window, self.chunk, self.pool.page_tokens, reach)

    def add(self, request: Request) -> None:
        """Queue a request; `step` moves it on until its `finish_reason` is set."""
        self.scheduler.add(request)

    def cancel(self, request: Request) -> None:
        """End a request now and give its pages back; one that has ended stays as it is."""
        request.finish_reason = request.finish_reason or "cancelled"
        if request in self.scheduler:  # or it has left
            self._leave(request)

    @property
    def idle(self) -> bool:
        """True when no request is running or waiting."""
        return not (self.scheduler.running or self.scheduler.waiting)

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One forward over running requests; returns those that got tokens or ended.

        A forward that raises has committed nothing: the step can be taken again. What goes wrong with one request's token
        ends that request alone.
        """
        with undisturbed(self.model.kernels):
            return self._step()

    def _step(self) -> list[Request]:
        turns = self._turns()
        if not turns:
            return []
        began = time.perf_counter()
        batch = TokenBatch.pack([self._span(turn) for turn in turns])
        states = self.model.hidden(batch, self.pool).split([turn.tokens + len(turn.drafts) for turn in turns])
        deciding = [(turn, rows[turn.tokens - 1 :]) for turn, rows in zip(turns, states, strict=True) if turn.decides]
        logits = self.model.logits(torch.cat([rows for _, rows in deciding])) if deciding else states[0][:0]
        for turn, rows in zip(turns, states, strict=True):
            self._read_prompt(turn, rows)
        finite = iter(logits.amax(-1).isfinite().tolist())
        for (turn, rows), found in zip(deciding, logits.split([len(rows) for _, rows in deciding]), strict=True):
            turn.decide(found, [next(finite) for _ in rows])
        self.stats.steps += 1
        if self.drafts is not None:
            self.drafts.measured(len(turns), len(batch.ids), time.perf_counter() - began)
        return [turn.request for turn in turns if self._commit(turn)]

    def _turns(self) -> list[Turn]:
        """Who runs, and what of each."""
        for request in self.scheduler.admit():
            self._place(request)
        share, put_off = self.scheduler.plan()
        for request in put_off:
            self._begin_again(request)
        turns = [Turn(request, tokens) for request, tokens in share]
        self._draft(turns)
        return turns

    def _place(self, request: Request) -> None:
        """Give a request its ring, with what of its ids is in memory already."""
        request.ring = PageRing(self.pool, self.slots, self.window)
        if request.state is not None:
            snapshot.put(self.pool, request.ring, request.state)
            request.cached = request.computed = len(request.state.ids)
            request.labelled = -(-request.computed // self.pool.page_tokens)
        elif self.prefix_caching and not request.reads_prompt:
            pages, n = find_prefix(self.pool, request, self.window)
            request.ring.adopt(pages, n)
            request.labelled = n
            request.computed = n * self.pool.page_tokens
            if not request.output:  # one that was put off finds, besides, what it wrote itself
                request.cached = request.computed
            self.stats.looked_up_tokens += request.length
            self.stats.cached_tokens += request.computed
        if request.params.penalised and request.counts is None:
            written = [sampled.id for sampled in request.output]
            request.counts = Counts.of(request.prompt, written, self.model.config.vocab_size, self.model.device)

    def _begin_again(self, request: Request) -> None:
        """Let a request that was put off wait as if it had just come, keeping what it has written."""
        assert request.ring is not None
        request.ring.release()
        request.ring = None
        request.computed = request.labelled = 0
        request.prompt_logprobs.clear()
        if request.pooled is not None:
            request.pooled.zero_()
        self.stats.preemptions += 1

    def _draft(self, turns: Sequence[Turn]) -> None:
        """Add drafts to the turns that decode, as far as budget and pages allow."""
        left = self.scheduler.budget - sum(turn.tokens for turn in turns)
        asked: list[tuple[Turn, int]] = []
        for turn in turns:
            request = turn.request
            if not (turn.decides and request.decoding):
                continue
            room = max(0, min(self.chunk - 1, request.max_len - request.length - 1, left))
            forced = forced_ids(request)[:room]
            if forced and self._try(turn, forced):
                turn.forced = len(forced)
                left -= len(forced)
            else:
                asked.append((turn, min(room, self.num_draft_tokens)))
        if self.drafts is None or not asked:
            return
        proposals = self.drafts.propose([(turn.request, most) for turn, most in asked])
        for (turn, _), ids in zip(asked, proposals, strict=True):
            if (ids := ids[:left]) and self._try(turn, ids):
                left -= len(ids)

    def _try(self, turn: Turn, drafts: list[int]) -> bool:
        """Let `drafts` ride along if there are pages for them."""
        if self.scheduler.claim(turn.request, turn.end + len(drafts)):
            turn.drafts = drafts
        return bool(turn.drafts)

    def _span(self, turn: Turn) -> Span:
        request = turn.request
        assert request.ring is not None
        request.ring.extend(turn.end + len(turn.drafts))
        ids = [*request.ids(turn.start, turn.end), *turn.drafts]
        return Span(ids, turn.start, request.ring.table, "none", request.adapter)

    def _read_prompt(self, turn: Turn, states: Tensor) -> None:
        """What a request wants of its prompt beside the next token: pooled states, or log-probabilities."""
        request, prompt = turn.request, turn.request.prompt
        inside = states[: max(0, min(turn.tokens, len(prompt) - turn.start))]
        if request.pooled is not None:
            turn.pooled = inside.double().sum(0)  # so that chunks of another size round alike
        top = request.params.prompt_logprobs
        if top is not None:
            ids = prompt[turn.start + 1 : turn.start + 1 + len(inside)]
            for part in range(0, len(ids), _PROMPT_ROWS):
                for row, id in zip(self.model.logits(inside[part : part + _PROMPT_ROWS]), ids[part:], strict=False):
                    turn.prompt_logprobs.append(report(row, id, top))

    def _commit(self, turn: Turn) -> bool:
        """Count what was computed and keep it for others; True if the request got a token or ended."""
        request = turn.request
        assert request.ring is not None
        right = max(0, turn.gained - 1)
        self._count(turn, right)
        request.prompt_logprobs += turn.prompt_logprobs
        if request.pooled is not None and turn.pooled is not None:
            request.pooled += turn.pooled
        request.computed = turn.end + right
        if self.drafts is not None and turn.drafts and not turn.forced:
            self.drafts.observe(request, len(turn.drafts), right)
        if self.prefix_caching:
            label_pages(self.pool, request)
        request.ring.retire(request.computed)
        if request.computed == request.max_len:
            request.finish_reason = "length"  # nothing was to be written
        if request.finish_reason is not None:
            self._leave(request)
        return turn.gained > 0 or request.finish_reason is not None

    def _count(self, turn: Turn, right: int) -> None:
        self.stats.prompt_tokens += max(0, min(turn.end, len(turn.request.prompt)) - turn.start)
        self.stats.generated_tokens += turn.gained
        self.stats.drafted_tokens += len(turn.drafts)
        self.stats.accepted_tokens += right
        self.stats.forced_tokens += min(right, turn.forced)

    def _leave(self, request: Request) -> None:
        self.scheduler.remove(request)
        if self.drafts is not None:
            self.drafts.leave(request)
        self.stats.finished += 1
        request.counts = None  # as large as the vocabulary
        ring, request.ring = request.ring, None
        if ring is None:
            return
        try:
            if request.keep_state and request.computed:
                request.state = snapshot.take(self.pool, ring, request.ids(0, request.computed), self.window)
        finally:
            ring.release()

"""How probable continuations are after their contexts; what several share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import torch
from torch import Tensor

from mistral7b.api import LLM
from mistral7b.errors import NumericError, RequestError
from mistral7b.evals.forest import Node, Read, grow, mark, settle
from mistral7b.kernels.native_room import undisturbed
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import PageRing

_ROWS = 1024  # tokens of one forward
_LOGIT_ROWS = 256  # rows whose logits are held at once

Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Score:
    """The natural logarithm of the probability of a continuation, and whether each of its ids is the likeliest at its place."""

    logprob: float
    greedy: bool


@dataclass(slots=True)
class _Sum:
    """A score in the making: `targets` are predicted at positions `first`, `first + 1`, ..."""

    first: int
    targets: Sequence[int]
    read: int = 0
    logprob: float = 0.0
    greedy: bool = True


class Scorer:
    """Scores (context ids, continuation ids) with a model, through the pages of its engine, which must be idle.

    Contexts and continuations that begin alike stand as one path of a forest, and each token of it is run once: the examples
    before many questions, the question before its answers. Nodes of many paths share a forward. With the same weights and
    types the scores are the same bits whatever else is asked with them. `adapter` is one of the model's, by name.
    """

    def __init__(self, llm: LLM, *, adapter: str | None = None) -> None:
        self.llm = llm
        self.model, self.engine, self.pool = llm.model, llm.engine, llm.engine.pool
        self._adapter, _ = llm.route(adapter)

    def score(self, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None) -> list[Score]:
        """A score for each pair, in their order; `progress` is told (pairs done, in all). Raises what `stream` raises."""
        made: dict[int, Score] = {}
        for place, score in self.stream(pairs):
            made[place] = score
            if progress is not None:
                progress(len(made), len(pairs))
        return [made[place] for place in range(len(pairs))]

    def stream(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Score]]:
        """(its place, its score) of each pair, as they come.

        Of a pair longer than `max_model_len` and one more, the last ids are kept. Raises RequestError for a pair without
        context or continuation, a continuation longer than the context of the model, or an id outside the vocabulary, before
        anything runs; NumericError for logits that are not finite.
        """
        assert self.engine.idle, "the pages are wanted by requests"
        inputs, sums = self._inputs(pairs)
        roots, leaves = grow(inputs)
        nodes = settle(roots, self.pool.page_tokens, self.engine.slots, self.pool.n_pages)
        for place, (leaf, ids) in enumerate(zip(leaves, inputs, strict=True)):
            mark(leaf, Read(place, sums[place].first, len(ids)))
        try:
            for place in _Walk(self, nodes, sums).run():
                yield place, Score(sums[place].logprob, sums[place].greedy)
        finally:
            for node in nodes:
                if node.ring is not None:
                    node.ring.release()

    def _inputs(self, pairs: Sequence[Pair]) -> tuple[list[list[int]], list[_Sum]]:
        """What is run for each pair, all ids but the last, and what is read from it."""
        longest, vocabulary = self.llm.max_model_len, self.model.config.vocab_size
        inputs, sums = [], []
        for context, continuation in pairs:
            if not context or not continuation:
                missing = "continuation" if context else "context"
                raise RequestError(f"a score is that of a continuation after a context, and here is no {missing}")
            if len(continuation) > longest:
                raise RequestError(f"a continuation has {len(continuation):,} tokens, more than max_model_len {longest:,}")
            ids = [*context, *continuation][-(longest + 1) :]
            if min(ids) < 0 or max(ids) >= vocabulary:
                raise RequestError(f"there is an id that is not one of this model; ids are integers from 0 to {vocabulary - 1}")
            inputs.append(ids[:-1])
            sums.append(_Sum(len(ids) - 1 - len(continuation), continuation))
        return inputs, sums


class _Walk:
    """One way through a forest, in forwards of as many rows as there are, and never more pages than the pool has.

    A node is begun when its parent is computed, and lets its pages go when its children are. The first in order that is not
    computed may always begin: every other leaves the pages free that the longest path needs.
    """

    def __init__(self, scorer: Scorer, nodes: Sequence[Node], sums: Sequence[_Sum]) -> None:
        self.scorer, self.sums = scorer, sums
        self.reserve = max((node.path for node in nodes), default=0)
        self.unclaimed = scorer.pool.n_free
        self.ready = [(node.order, node) for node in nodes if node.parent is None]
        heapify(self.ready)

    def run(self) -> Iterator[int]:
        """The pairs, each as its score is complete."""
        while self.ready:
            with torch.inference_mode(), undisturbed(self.scorer.model.kernels):
                complete = self._step()
            yield from complete

    def _step(self) -> list[int]:
        """One forward; the pairs whose scores it completes."""
        parts = self._parts()
        spans = [self._span(node, end) for node, end in parts]
        states = self.scorer.model.hidden(TokenBatch.pack(spans), self.scorer.pool)
        complete = self._read(parts, states)
        for node, end in parts:
            assert node.ring is not None
            node.done = end
            node.ring.retire(end)
            if end < node.end:
                heappush(self.ready, (node.order, node))
            elif node.children:
                for child in node.children:
                    heappush(self.ready, (child.order, child))
            else:
                self._leave(node)
        return complete

    def _parts(self) -> list[tuple[Node, int]]:
        """Nodes, and how far each is computed in this forward."""
        parts: list[tuple[Node, int]] = []
        left = _ROWS
        while self.ready and left:
            _, node = self.ready[0]
            if node.ring is None:
                if parts and self.unclaimed - node.pages < self.reserve:
                    break
                self._begin(node)
            heappop(self.ready)
            rows = min(node.end - node.done, self.scorer.engine.chunk, left)
            parts.append((node, node.done + rows))
            left -= rows
        return parts

    def _begin(self, node: Node) -> None:
        self.unclaimed -= node.pages
        if node.parent is None:
            node.ring = PageRing(self.scorer.pool, self.scorer.engine.slots, self.scorer.engine.window)
        else:
            assert node.parent.ring is not None
            node.ring = node.parent.ring.fork(node.start)

    def _leave(self, node: Node) -> None:
        """Let go of a node that nobody goes on from, and of its ancestors if it was the last to go on from them."""
        assert node.ring is not None
        node.ring.release()
        node.ring = None
        self.unclaimed += node.pages
        if node.parent is not None:
            node.parent.waiting -= 1
            if not node.parent.waiting:
                self._leave(node.parent)

    def _span(self, node: Node, end: int) -> Span:
        assert node.ring is not None
        node.ring.extend(end)
        return Span(node.ids[node.done : end], node.done, node.ring.table, "none", self.scorer._adapter)

    def _read(self, parts: Sequence[tuple[Node, int]], states: Tensor) -> list[int]:
        """Add what `states` `[T, dim]` of the parts predict to the sums; gives the pairs that have all."""
        row_of: dict[int, int] = {}  # row of states -> row of logits
        wanted: list[tuple[int, int, int]] = []  # pair, row of logits, target
        begin = 0
        for node, end in parts:
            for read in node.reads:
                sums = self.sums[read.pair]
                for position in range(max(read.begin, node.done), min(read.end, end)):
                    row = row_of.setdefault(begin + position - node.done, len(row_of))
                    wanted.append((read.pair, row, sums.targets[position - sums.first]))
            begin += end - node.done
        if not wanted:
            return []
        found = self._predicted(states[list(row_of)], [row for _, row, _ in wanted], [target for *_, target in wanted])
        complete = []
        for (pair, *_), logprob, best in zip(wanted, *found, strict=True):
            sums = self.sums[pair]
            sums.read += 1
            sums.logprob += logprob
            sums.greedy &= best
            if sums.read == len(sums.targets):
                complete.append(pair)
        return complete

    def _predicted(self, states: Tensor, rows: list[int], targets: list[int]) -> tuple[list[float], list[bool]]:
        """Log-probability of each target at its row of `states`, and whether it is the likeliest there."""
        at, ids = torch.tensor(rows), torch.tensor(targets)
        logprobs, likeliest = torch.empty(len(rows)), torch.empty(len(rows), dtype=torch.bool)
        for start in range(0, len(states), _LOGIT_ROWS):
            logits = self.scorer.model.logits(states[start : start + _LOGIT_ROWS])
            here = (at >= start) & (at < start + _LOGIT_ROWS)
            row, id = (at[here] - start).to(logits.device), ids[here].to(logits.device)
            logprobs[here] = (logits[row, id] - logits.logsumexp(-1)[row]).cpu()
            likeliest[here] = (logits.argmax(-1)[row] == id).cpu()
        if not bool(logprobs.isfinite().all()):
            raise NumericError(
                "the model gives logits that are not finite; try another dtype, and check it with mistral7b verify"
            )
        return logprobs.tolist(), likeliest.tolist()

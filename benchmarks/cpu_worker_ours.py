"""This project's worker: any folder that `mistral7b.load` takes, run through the network and its page pool directly."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cpu_protocol import serve

import mistral7b
from mistral7b.kernels.native_room import undisturbed
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import DEFAULT_PAGE_TOKENS, PagePool, PageRing, ring_slots

_LONGEST = 16_384
_ROOM = 256  # tokens behind the deepest depth, and of one sequence of a batch
_DEPTHS = 4  # rings that stay filled, beside the one at work
_SEQUENCES = 16
_CACHES = {"bfloat16": torch.bfloat16, "int8": torch.int8}


class Ours:
    """One model and one pool. The rings of depths already filled stay filled: decoding again writes over what it wrote before."""

    def __init__(self, folder: Path, threads: int, chunk: int, cache: torch.dtype | None) -> None:
        torch.set_num_threads(threads)
        self.model = mistral7b.load(folder).model
        self.chunk = chunk
        config = self.model.config
        self.window = config.sliding_window
        self.slots = ring_slots(self.window, chunk, DEFAULT_PAGE_TOKENS, _LONGEST + _ROOM)
        # Memory of pages that are never written is never taken.
        pages = max((1 + _DEPTHS) * self.slots, self.slots + _SEQUENCES * _ROOM // DEFAULT_PAGE_TOKENS)
        self.pool = PagePool(config, pages, dtype=cache or self.model.dtype)
        self.filled: dict[int, PageRing] = {}
        self.chance = random.Random(0)

    def about(self) -> dict[str, Any]:
        tensors = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        weights = sum(each.nbytes for name, each in tensors.items() if "tok_embeddings" not in name)
        return {
            "mistral7b": mistral7b.__version__,
            "kernels": type(self.model.output.kernels).__name__,
            "cache": str(self.pool.k.dtype),
            "read_bytes": weights,
        }

    def prefill(self, tokens: int) -> dict[str, Any]:
        ring = self._ring()
        found = self._prefill(ring, tokens)
        ring.release()
        return found

    def decode(self, depth: int, tokens: int) -> dict[str, Any]:
        assert tokens < _ROOM
        if depth not in self.filled:
            self.filled[depth] = self._ring()
            if depth:
                self._prefill(self.filled[depth], depth)
        return self._decode([self.filled[depth]], self._ids(1), depth, tokens)

    def batch(self, size: int, prompt: int, tokens: int) -> dict[str, Any]:
        rings = [self._ring() for _ in range(size)]
        for ring in rings:
            ring.extend(prompt)
        first = self._forward([Span(self._ids(prompt), 0, ring.table) for ring in rings])
        found = self._decode(rings, first, prompt, tokens)
        for ring in rings:
            ring.release()
        return found

    def rows(self, rows: int, forwards: int) -> dict[str, Any]:
        ring = self._ring()
        ring.extend(1 + rows * forwards)
        self._forward([Span(self._ids(1), 0, ring.table)])
        spans = [Span(self._ids(rows), 1 + step * rows, ring.table, "all") for step in range(forwards)]
        started = time.perf_counter()
        for span in spans:
            self._forward([span])
        seconds = time.perf_counter() - started
        ring.release()
        return {"seconds": seconds, "tokens": rows * forwards}

    def _prefill(self, ring: PageRing, tokens: int) -> dict[str, Any]:
        ids, marks = self._ids(tokens), []
        started = time.perf_counter()
        for start in range(0, tokens, self.chunk):
            end = min(start + self.chunk, tokens)
            ring.extend(end)
            self._forward([Span(ids[start:end], start, ring.table, "last" if end == tokens else "none")])
            ring.retire(end)
            marks.append([end, time.perf_counter() - started])
        return {"seconds": marks[-1][1], "tokens": tokens, "marks": marks}

    def _decode(self, rings: Sequence[PageRing], ids: list[int], depth: int, tokens: int) -> dict[str, Any]:
        started = 0.0
        for step in range(tokens + 1):
            if step == 1:  # the first step warms up
                started = time.perf_counter()
            for ring in rings:
                ring.extend(depth + step + 1)
            ids = self._forward([Span([id], depth + step, ring.table) for id, ring in zip(ids, rings, strict=True)])
        return {"seconds": time.perf_counter() - started, "tokens": tokens * len(rings)}

    @torch.inference_mode()
    def _forward(self, spans: Sequence[Span]) -> list[int]:
        """Greedy next ids of the rows that want logits."""
        with undisturbed(self.model.kernels):  # as the engine steps
            batch = TokenBatch.pack(spans)
            if not len(batch.logit_rows):
                self.model.hidden(batch, self.pool)
                return []
            return self.model(batch, self.pool).argmax(-1).tolist()

    def _ring(self) -> PageRing:
        return PageRing(self.pool, self.slots, self.window)

    def _ids(self, count: int) -> list[int]:
        return [self.chance.randrange(3, self.model.config.vocab_size) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--states", type=Path)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--cache", choices=_CACHES, help="type of keys and values; the model's own without it")
    args = parser.parse_args()
    worker = Ours(args.model, args.threads, args.chunk, _CACHES.get(args.cache))
    serve({name: getattr(worker, name) for name in ("about", "prefill", "decode", "batch", "rows")})


if __name__ == "__main__":
    main()

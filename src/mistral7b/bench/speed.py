"""Prefill and decode of one sequence, straight through the network and its cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mistral7b.bench.machine import timed
from mistral7b.kernels.native_room import undisturbed
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import DEFAULT_PAGE_TOKENS, PagePool, PageRing, ring_slots
from mistral7b.model.transformer import Transformer

_CHUNK = 2048
_TOKEN = 1000


@dataclass(frozen=True)
class Speed:
    """Tokens a second of a prompt of `prefill` tokens, and of `decode` tokens behind it."""

    prefill_tok_s: float
    decode_tok_s: float


class Sequence:
    """One sequence, again and again from its beginning."""

    def __init__(self, model: Transformer, prefill: int, decode: int, kv_dtype: torch.dtype | None = None) -> None:
        self.model, self.prefill, self.decode = model, prefill, decode
        length = prefill + decode + 1
        slots = ring_slots(model.config.sliding_window, min(_CHUNK, prefill), DEFAULT_PAGE_TOKENS, length)
        self._pool = PagePool(model.config, slots, dtype=kv_dtype or model.dtype)
        self._ring = PageRing(self._pool, slots, model.config.sliding_window)

    @torch.inference_mode()
    def run(self) -> Speed:
        with undisturbed(self.model.kernels):
            return self._run()

    def _run(self) -> Speed:
        self._ring.release()
        prefill = timed(self._read_prompt)
        self._step(self.prefill)
        decode = timed(self._write)
        return Speed(self.prefill / prefill, self.decode / decode)

    def _read_prompt(self) -> None:
        for start in range(0, self.prefill, _CHUNK):
            end = min(start + _CHUNK, self.prefill)
            self._forward(start, end, last=end == self.prefill)

    def _write(self) -> None:
        for i in range(1, self.decode + 1):
            self._step(self.prefill + i)

    def _step(self, position: int) -> None:
        self._forward(position, position + 1, last=True)

    def _forward(self, start: int, end: int, *, last: bool) -> None:
        self._ring.extend(end)
        ids = [_TOKEN + i % 97 for i in range(start, end)]
        batch = TokenBatch.pack([Span(ids, start, self._ring.table, "last" if last else "none")])
        if last:
            self.model(batch, self._pool)
        else:
            self.model.hidden(batch, self._pool)
        self._ring.retire(end)

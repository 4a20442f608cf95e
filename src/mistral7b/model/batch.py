"""TokenBatch: ragged sequences laid end to end, prefill chunks and decode tokens alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one sequence: `ids` at positions `start`, `start + 1`, ...

    `table` is the sequence's page table (see `pages.PageRing`), None without a cache. `logits` says which of the rows
    need logits, `adapter` which adapter they go through (see `TokenBatch.adapters`).
    """

    ids: Sequence[int]
    start: int = 0
    table: Sequence[int] | None = None
    logits: Literal["all", "last", "none"] = "last"
    adapter: int | None = None


@dataclass(frozen=True)
class TokenBatch:
    """One forward's input: T tokens of S sequences.

    `ids` and `positions` are `[T]`, `borders` `[S + 1]` (sequence s holds rows `borders[s]` up to `borders[s + 1]`),
    `tables` `[S, R]` page tables or None, `logit_rows` `[N]` the rows whose logits are wanted, `adapters` `[S]` the number of
    the adapter (see `lora`) that each sequence goes through, -1 for none; None: all through adapter 0, if the network has
    one. All int64, on the CPU.
    """

    ids: Tensor
    positions: Tensor
    borders: Tensor
    tables: Tensor | None
    logit_rows: Tensor
    adapters: Tensor | None = None

    def __post_init__(self) -> None:
        rows, borders, logit_rows = len(self.ids), self.borders.tolist(), self.logit_rows.tolist()
        assert rows > 0, "a batch needs a token"
        assert self.ids.dim() == 1, "ids are flat"
        assert self.positions.shape == (rows,), "one position a token"
        assert borders[0] == 0, "the first sequence begins at row 0"
        assert borders[-1] == rows, "the last sequence ends with the last row"
        assert all(a < b for a, b in pairwise(borders)), "no sequence is empty"
        if rows > len(borders) - 1:  # or every sequence has one row
            leaps = (self.positions.diff() != 1).nonzero().flatten() + 1
            assert set(leaps.tolist()) <= set(borders), "positions run on within a sequence"
        starts = self.positions[self.borders[:-1]].tolist()
        assert min(starts) >= 0, "no position is negative"
        if self.tables is None:
            assert not any(starts), "without a page table a sequence begins at position 0"
        else:
            assert len(self.tables) == len(starts), "one page table a sequence"
        assert all(0 <= row < rows for row in logit_rows), "logits are wanted of rows of the batch"
        assert self.adapters is None or self.adapters.shape == (len(starts),), "one adapter a sequence"

    @classmethod
    def pack(cls, spans: Sequence[Span]) -> TokenBatch:
        """The spans end to end; either all have a page table or none has, and likewise an adapter."""
        borders = list(accumulate((len(span.ids) for span in spans), initial=0))
        ids = [id for span in spans for id in span.ids]
        positions = [position for span in spans for position in range(span.start, span.start + len(span.ids))]
        wanted: list[int] = []
        for span, (begin, end) in zip(spans, pairwise(borders), strict=True):
            wanted += range({"all": begin, "last": end - 1, "none": end}[span.logits], end)
        tables = [span.table for span in spans if span.table is not None]
        assert len(tables) in (0, len(spans)), "page tables for all sequences or for none"
        assert len({len(table) for table in tables}) <= 1, "page tables of one length"
        adapters = [span.adapter for span in spans if span.adapter is not None]
        assert len(adapters) in (0, len(spans)), "an adapter, or -1, for all sequences or for none"
        return cls(
            _int64(ids), _int64(positions), _int64(borders), _int64(tables) if tables else None, _int64(wanted),
            _int64(adapters) if adapters else None,
        )  # fmt: skip

    def adapter_rows(self) -> Tensor | None:
        """The adapter of each row, `[T]`; None where `adapters` is."""
        return None if self.adapters is None else torch.repeat_interleave(self.adapters, self.borders.diff())


def _int64(numbers: list[int] | list[Sequence[int]]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)

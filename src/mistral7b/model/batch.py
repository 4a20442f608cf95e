"""TokenBatch: ragged sequences laid end to end, prefill chunks and decode tokens alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one sequence: `ids` at positions `start`, `start + 1`, ...

    `table` is the sequence's page table (see `pages.PageRing`), None without a cache. `logits` says which of the rows
    need logits.
    """

    ids: Sequence[int]
    start: int = 0
    table: Sequence[int] | None = None
    logits: Literal["all", "last", "none"] = "last"


@dataclass(frozen=True)
class TokenBatch:
    """One forward's input: T tokens of S sequences.

    `ids` and `positions` are `[T]`, `borders` `[S + 1]` (sequence s holds rows `borders[s]` up to `borders[s + 1]`),
    `tables` `[S, R]` page tables or None, `logit_rows` `[N]` the rows whose logits are wanted. All int64, on the CPU
    until `to`.
    """

    ids: Tensor
    positions: Tensor
    borders: Tensor
    tables: Tensor | None
    logit_rows: Tensor

    def __post_init__(self) -> None:
        if self.ids.device.type != "cpu":
            return
        rows = len(self.ids)
        assert rows > 0, "a batch needs a token"
        assert self.ids.dim() == 1, "ids are flat"
        assert self.positions.shape == (rows,), "one position a token"
        assert self.borders[0] == 0, "the first sequence begins at row 0"
        assert self.borders[-1] == rows, "the last sequence ends with the last row"
        assert bool((self.borders.diff() > 0).all()), "no sequence is empty"
        inside = torch.ones(rows, dtype=torch.bool)
        inside[self.borders[:-1]] = False
        assert bool((self.positions.diff()[inside[1:]] == 1).all()), "positions run on within a sequence"
        starts = self.positions[self.borders[:-1]]
        assert bool((starts >= 0).all()), "no position is negative"
        if self.tables is None:
            assert not starts.any(), "without a page table a sequence begins at position 0"
        else:
            assert len(self.tables) == len(starts), "one page table a sequence"
        assert bool(((self.logit_rows >= 0) & (self.logit_rows < rows)).all()), "logits are wanted of rows of the batch"

    @classmethod
    def pack(cls, spans: Sequence[Span]) -> TokenBatch:
        """The spans end to end; either all have a page table or none has."""
        lengths = torch.tensor([len(span.ids) for span in spans])
        borders = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        ids = torch.cat([torch.as_tensor(span.ids, dtype=torch.int64) for span in spans])
        starts = torch.tensor([span.start for span in spans])
        positions = torch.arange(len(ids)) + torch.repeat_interleave(starts - borders[:-1], lengths)
        wanted = [
            torch.arange(end - length if span.logits == "all" else end - (span.logits == "last"), end)
            for span, end, length in zip(spans, borders[1:].tolist(), lengths.tolist(), strict=True)
        ]
        tables = [span.table for span in spans if span.table is not None]
        assert len(tables) in (0, len(spans)), "page tables for all sequences or for none"
        assert len({len(table) for table in tables}) <= 1, "page tables of one length"
        return cls(ids, positions, borders, torch.tensor(tables) if tables else None, torch.cat(wanted))

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device; lengths stay tensors."""
        if device.type == "cpu":
            return self
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return replace(self, **{name: t.to(device, non_blocking=True) for name, t in named if t is not None})

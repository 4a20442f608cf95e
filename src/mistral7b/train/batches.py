"""Rows of token shards as the batches of a step: which rows a rank takes, and when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mistral7b.data.pack import Mixture, Row
from mistral7b.data.shards import Shards, Split
from mistral7b.errors import RecipeError
from mistral7b.model.batch import TokenBatch
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Pretrain, Stage

_TRAIN: Split = "train"


@dataclass(frozen=True)
class MicroBatch:
    """One forward of one rank: the batch, targets `[T]`, and how many of them there are."""

    batch: TokenBatch
    targets: Tensor
    wanted: int


class Rows(Protocol):
    """Rows by number, each a function of its number alone."""

    @property
    def rows(self) -> int: ...

    def row(self, index: int) -> Row: ...


class Course:
    """The rows of a run's stages, one stage after another: row i is a function of i alone."""

    def __init__(self, stages: Sequence[Rows]) -> None:
        self.stages = stages
        self.ends = list(accumulate(stage.rows for stage in stages))

    @property
    def rows(self) -> int:
        return self.ends[-1]

    def row(self, index: int) -> Row:
        stage = bisect_right(self.ends, index)
        return self.stages[stage].row(index - (self.ends[stage] - self.stages[stage].rows))

    def turns(self, step: int, rows: int) -> bool:
        """Whether a stage but the first begins within a step of so many rows."""
        return any(end // rows == step for end in self.ends[:-1])

    def steps(self, rows: int) -> int:
        """Whole steps of so many rows; raises RecipeError if there is none."""
        if self.rows < rows:
            raise RecipeError(f"the shards give {self.rows:,} rows and a step takes {rows:,}; lower batch_tokens or raise epochs")
        return self.rows // rows


def micro_batches(source: Rows, step: int, rows: int, at_once: int, ranks: Ranks) -> list[MicroBatch]:
    """What this rank computes in `step` of `rows` rows: every so many-th of them, `at_once` in a forward.

    The same rows whatever the number of ranks, so that a run may go on with another.
    """
    mine = range(step * rows + ranks.data_rank, (step + 1) * rows, ranks.data_ranks)
    return [micro_batch([source.row(i) for i in mine[start : start + at_once]]) for start in range(0, len(mine), at_once)]


def check_shares(rows: int, named: str, ranks: Ranks) -> None:
    """Raises RecipeError if the ranks cannot share the rows of a step evenly; `named` is what the recipe calls their number."""
    if rows % ranks.data_ranks:
        raise RecipeError(f"{named} {rows} rows a step, which {ranks.data_ranks} ranks cannot share; change them")


def course(recipe: Pretrain, shards: Shards) -> Course:
    """The rows of the run."""
    stages = recipe.data.stages or (Stage(epochs={name: source.epochs for name, source in shards.sources.items()}),)
    for stage in stages:
        if unknown := sorted(stage.epochs.keys() - shards.sources.keys()):
            raise RecipeError(f"data.stages names the source {unknown[0]!r}; the shards have {', '.join(sorted(shards.sources))}")
    return Course([
        Mixture(shards, _TRAIN, stage.epochs, recipe.data.length, recipe.data.seed + i) for i, stage in enumerate(stages)
    ])  # fmt: skip


def micro_batch(rows: Sequence[Row]) -> MicroBatch:
    """Rows end to end; the documents in them, and the rows, are sequences that do not see each other."""
    offsets = list(accumulate((len(row.ids) for row in rows), initial=0))
    borders = np.concatenate([row.borders[:-1] + offset for row, offset in zip(rows, offsets[:-1], strict=True)])
    edges = torch.from_numpy(np.append(borders, offsets[-1]).astype(np.int64))
    ids, targets = (torch.from_numpy(np.concatenate([getattr(row, name) for row in rows])) for name in ("ids", "targets"))
    positions = torch.arange(len(ids)) - torch.repeat_interleave(edges[:-1], edges.diff())
    none = torch.empty(0, dtype=torch.int64)
    return MicroBatch(TokenBatch(ids, positions, edges, None, none), targets, int((targets >= 0).sum()))

"""Rows of a training batch: token shards cut to a fixed length, every row a pure function of the seed and its number."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from mistral7b.data.permutation import Permutation
from mistral7b.data.shards import Ids, Shards, Split
from mistral7b.errors import DataError

IGNORED = -100  # the target of a position that predicts nothing


@dataclass(frozen=True, slots=True)
class Row:
    """`ids` int64 `[length]`; `targets` int64 `[length]`, the next id of the same document, IGNORED at a document's end;
    `borders` int64 `[S + 1]`, where the row's sequences begin, 0 and length included.

    Positions restart at a border, and no sequence sees another. A row that begins inside a document begins a sequence there.
    """

    ids: Ids
    targets: Ids
    borders: Ids

    def __post_init__(self) -> None:
        assert self.ids.shape == self.targets.shape, "one target an id"
        assert self.borders[0] == 0, "the first sequence begins the row"
        assert self.borders[-1] == len(self.ids), "the last sequence ends the row"


@dataclass(frozen=True, slots=True)
class _Part:
    """One source in the mixture: `each` rows an epoch, `whole` epochs and `rest` rows of one more."""

    source: str
    each: int
    whole: int
    rest: int

    @property
    def rows(self) -> int:
        return self.each * self.whole + self.rest


class Mixture:
    """The rows of several sources in one random order, without state: row `i` is the same whenever and wherever it is asked
    for, so that a run resumes at an integer, and rank r of n takes the rows `of_rank(r, n)`.

    A source of N tokens is cut end to end into N // length rows; what is left over at the end is not seen in that epoch.
    Every epoch begins at an offset of its own, from which the source is read around as a ring, so what is left over and
    where rows are cut differ from epoch to epoch. A fraction of an epoch is that share of its rows, drawn at random.

    `epochs` says how often each source is seen; sources that are not named are left out. None: as the manifest says in
    training, and once each held out (sources too short for a row left out).
    Raises DataError for a source that is not there, or of less than one row, and for a mixture without rows.
    """

    def __init__(self, shards: Shards, split: Split, epochs: Mapping[str, float] | None, length: int, seed: int) -> None:
        assert length >= 1, "a row has a token"
        self.length, self.seed = length, seed
        wanted = _default(shards, split, length) if epochs is None else dict(epochs)
        for source, times in wanted.items():
            if not 0 <= times < math.inf:
                raise DataError(f"{source} is to be seen {times} times; give 0 or more")
        named = sorted(source for source, times in wanted.items() if times)
        self._streams = {source: shards.stream(split, source) for source in named}
        for source, stream in self._streams.items():
            if stream.length < length:
                raise DataError(
                    f"{split}/{source} has {stream.length:,} tokens, less than one row of {length:,}; leave it out with epochs 0"
                )
        self._parts = [_part(source, self._streams[source].length // length, wanted[source]) for source in named]
        self._ends = list(accumulate(part.rows for part in self._parts))
        if not self._ends or not self._ends[-1]:
            raise DataError(f"{shards.folder}: no {split} rows of {length:,} tokens with these epochs; raise them")
        self._order = Permutation(self.rows, f"rows {seed}")
        self._drawn = {part.source: Permutation(part.each, f"share {seed} {part.source}") for part in self._parts if part.rest}

    @property
    def rows(self) -> int:
        """Number of rows, of all sources and epochs."""
        return self._ends[-1]

    @property
    def rows_of(self) -> dict[str, int]:
        """Number of rows of each source."""
        return {part.source: part.rows for part in self._parts}

    def of_rank(self, rank: int, ranks: int, first: int = 0) -> range:
        """The rows of one rank, from row `first` of all ranks on: together the ranks have every row once."""
        assert 0 <= rank < ranks, "ranks count from 0"
        return range(first + (rank - first) % ranks, self.rows, ranks)

    def row(self, index: int) -> Row:
        """Row `index`; IndexError outside `range(rows)`."""
        source, epoch, cut = self.place(index)
        stream, length = self._streams[source], self.length
        start = _offset(self.seed, source, epoch, length) + cut * length
        window = stream.ids(start, length + 1)
        borders = stream.borders(start, length)
        targets = window[1:].copy()
        targets[borders - 1] = IGNORED
        inner = borders[:-1] if len(borders) and borders[-1] == length else borders
        return Row(window[:-1], targets, np.concatenate(((0,), inner, (length,)), dtype=np.int64))

    def place(self, index: int) -> tuple[str, int, int]:
        """(Source, epoch, number of the row within the epoch) of row `index`."""
        at = self._order[index]
        which = bisect_right(self._ends, at)
        part = self._parts[which]
        epoch, cut = divmod(at - (self._ends[which] - part.rows), part.each)
        return part.source, epoch, self._drawn[part.source][cut] if epoch == part.whole else cut


def _default(shards: Shards, split: Split, length: int) -> dict[str, float]:
    if split == "train":
        return {name: source.epochs for name, source in shards.sources.items()}
    return {name: 1.0 for name, source in shards.sources.items() if source.splits[split].tokens >= length}


def _part(source: str, each: int, epochs: float) -> _Part:
    whole = math.floor(epochs)
    rest = math.floor((epochs - whole) * each + 0.5)
    return _Part(source, each, whole + rest // each, rest % each)


def _offset(seed: int, source: str, epoch: int, length: int) -> int:
    """Where the first row of an epoch begins, in `[0, length)`."""
    digest = hashlib.blake2b(f"offset {seed} {epoch} {source}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % length

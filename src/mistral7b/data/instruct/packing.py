"""Rows of a training batch from whole samples: packed, or one a row; every row a pure function of the seed and its number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from mistral7b.data.instruct.samples import Samples
from mistral7b.data.pack import IGNORED, Row
from mistral7b.data.permutation import Permutation
from mistral7b.errors import DataError


class Packed:
    """The rows of several epochs over samples, one epoch after another, without state: row `i` is the same whenever it is
    asked for, so that a run resumes at an integer.

    An epoch shuffles its samples, puts each into the first row that has room for it (first fit), and shuffles the rows;
    without `packing` each sample is a row. Rows hold whole samples, `length` tokens at most, and nothing to fill them up.
    `epochs` says how often the samples of each file are seen, or one number for all; a fraction of an epoch is that share of
    a file's samples, drawn at random. Raises DataError for samples longer than a row, and for no rows.
    """

    def __init__(self, samples: Samples, epochs: float | Sequence[float], length: int, seed: int, packing: bool = True) -> None:
        times = [epochs] * len(samples.ends) if isinstance(epochs, int | float) else list(epochs)
        if len(times) != len(samples.ends) or not all(0 <= wanted < math.inf for wanted in times):
            raise DataError(f"epochs are {times} for {len(samples.ends)} files; give each 0 or more")
        self._samples = samples
        self._lengths = np.diff(samples.borders)
        if len(samples) and (longest := int(self._lengths.max())) > length:
            raise DataError(f"a sample has {longest:,} tokens and a row {length:,}; read the samples with the length of a row")
        self._rows: list[tuple[int, ...]] = []
        for epoch in range(math.ceil(max(times, default=0))):
            seen = _seen(samples.ends, times, epoch, seed)
            order = Permutation(len(seen), f"samples {seed} {epoch}")
            shuffled = [seen[order[i]] for i in range(len(seen))]
            rows = _first_fit(shuffled, self._lengths, length) if packing else [(index,) for index in shuffled]
            places = Permutation(len(rows), f"rows {seed} {epoch}")
            self._rows += [rows[places[i]] for i in range(len(rows))]
        if not self._rows:
            raise DataError(f"no samples with epochs of {epochs}; raise them")

    @property
    def rows(self) -> int:
        """Number of rows, of all epochs."""
        return len(self._rows)

    def members(self, index: int) -> tuple[int, ...]:
        """The samples of row `index`, in their order."""
        if not 0 <= index < self.rows:
            raise IndexError(f"{index} is outside {self.rows} rows")
        return self._rows[index]

    def row(self, index: int) -> Row:
        """Row `index`; IndexError outside `range(rows)`. A target is IGNORED where it is not learned and at a sample's end."""
        held, borders = self._samples, self._samples.borders
        spans = [slice(borders[sample], borders[sample + 1]) for sample in self.members(index)]
        ids = np.concatenate([held.ids[span] for span in spans]).astype(np.int64)
        trained = np.concatenate([held.trained[span] for span in spans])
        targets = np.where(trained, ids, IGNORED)  # the first id of a sample is never learned, so what precedes it has no target
        return Row(
            ids,
            np.append(targets[1:], IGNORED),
            np.array([0, *accumulate(span.stop - span.start for span in spans)], dtype=np.int64),
        )


def _seen(ends: Sequence[int], times: Sequence[float], epoch: int, seed: int) -> list[int]:
    """The samples that are seen in an epoch."""
    seen: list[int] = []
    for number, (begin, end, wanted) in enumerate(zip((0, *ends), ends, times, strict=False)):
        if epoch < math.floor(wanted):
            seen += range(begin, end)
        elif epoch == math.floor(wanted):
            drawn = Permutation(end - begin, f"share {seed} {number}")
            seen += (begin + drawn[i] for i in range(math.floor((wanted - epoch) * (end - begin) + 0.5)))
    return seen


def _first_fit(order: Sequence[int], lengths: np.ndarray, length: int) -> list[tuple[int, ...]]:
    """Each sample into the first row that has room for it, found by a tree of the room left: `room[1]` is the most of all
    rows, and `room[n]` that of rows under node n, whose children are 2n and 2n + 1 (Johnson and others, 1974)."""
    leaves = 1 << max(len(order) - 1, 0).bit_length()
    room = [length] * (2 * leaves)
    rows: list[list[int]] = []
    for sample in order:
        needed = int(lengths[sample])
        node = 1
        while node < leaves:
            node *= 2
            node += room[node] < needed
        if node - leaves == len(rows):
            rows.append([])
        rows[node - leaves].append(sample)
        room[node] -= needed
        while node := node // 2:
            room[node] = max(room[2 * node], room[2 * node + 1])
    return [tuple(row) for row in rows]

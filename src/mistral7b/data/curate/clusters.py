"""Who repeats whom: the arithmetic of duplicates, from the files that tasks and datatrove's buckets left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mistral7b.data.curate.recipe import MinHash

_COMPARED = 64  # earlier members of a bucket that a document is compared with
# A document in the recipe's order of sources, files and lines, whichever units those were cut into, and its place: (first task
# of its file, number in the file, task, index).
Ranked = tuple[int, int, int, int]


def exact_duplicates(folder: Path, ranked: list[list[Ranked]]) -> dict[Ranked, Ranked]:
    """Every document whose fingerprint an earlier one has, and the first that has it. `ranked` is by task and index."""
    prints = [(folder / f"{task:06d}.prints").read_bytes() for task in range(len(ranked))]
    first: dict[bytes, Ranked] = {}
    found: dict[Ranked, Ranked] = {}
    for one in sorted(one for held in ranked for one in held):
        task, index = one[2:]
        mark = prints[task][16 * index : 16 * index + 16]
        if mark != bytes(16) and (earlier := first.setdefault(mark, one)) != one:
            found[one] = earlier
    return found


def near_duplicates(
    buckets: Path, signatures: Path, settings: MinHash, ranked: list[list[Ranked]], gone: set[Ranked]
) -> dict[Ranked, tuple[Ranked, float]]:
    """Every document that an earlier one resembles: the first of its cluster, and the share of hashes equal with it.

    `ranked` is by task and index, `gone` what need not be looked at.
    """
    groups = [group for path in sorted(buckets.glob("*.dups")) for group in _groups(path, ranked, gone)]
    table = _Signatures(signatures, settings, [len(held) for held in ranked])
    clusters = _Clusters()
    checked: set[tuple[Ranked, Ranked]] = set()
    for group in groups:
        for i, later in enumerate(group):
            for earlier in group[max(0, i - _COMPARED) : i]:
                if (earlier, later) in checked:
                    continue
                checked.add((earlier, later))
                if settings.similarity is None or table.share(earlier, later) >= settings.similarity:
                    clusters.join(earlier, later)
    return {one: (first, table.share(first, one)) for one, first in clusters.members() if one != first}


def _groups(path: Path, ranked: list[list[Ranked]], gone: set[Ranked]) -> Iterator[list[Ranked]]:
    """The documents that met in one bucket, in order: datatrove writes each with the one before it."""
    met = _Clusters()
    for a, i, b, j in np.fromfile(path, dtype="<u4").reshape(-1, 4).tolist():
        met.join(ranked[a][i], ranked[b][j])
    groups: dict[Ranked, list[Ranked]] = {}
    for one, first in met.members():
        if one not in gone:
            groups.setdefault(first, []).append(one)
    yield from (sorted(group) for group in groups.values() if len(group) > 1)


class _Clusters:
    """Sets that join (union-find); each is named by its first member."""

    def __init__(self) -> None:
        self._above: dict[Ranked, Ranked] = {}

    def first(self, one: Ranked) -> Ranked:
        path = []
        while (above := self._above.setdefault(one, one)) != one:
            path.append(one)
            one = above
        for below in path:
            self._above[below] = one
        return one

    def join(self, a: Ranked, b: Ranked) -> None:
        a, b = sorted((self.first(a), self.first(b)))
        self._above[b] = a

    def members(self) -> list[tuple[Ranked, Ranked]]:
        return [(one, self.first(one)) for one in sorted(self._above)]


class _Signatures:
    """All hashes of a task's documents [documents, buckets x hashes], put together from datatrove's files when asked for."""

    def __init__(self, folder: Path, settings: MinHash, documents: list[int]) -> None:
        self.folder, self.settings, self.documents = folder, settings, documents
        self._held: dict[int, NDArray[np.uint64]] = {}

    def share(self, a: Ranked, b: Ranked) -> float:
        """Of equal hashes: an estimate of the share of n-grams that two documents have in common."""
        return float(np.mean(self._row(*a[2:]) == self._row(*b[2:])))

    def _row(self, task: int, index: int) -> NDArray[np.uint64]:
        if task not in self._held:
            self._held[task] = self._task(task)
        row: NDArray[np.uint64] = self._held[task][index]
        return row

    def _task(self, task: int) -> NDArray[np.uint64]:
        n_hashes = self.settings.hashes
        rows = np.zeros((self.documents[task], self.settings.buckets, n_hashes), np.uint64)
        kind = np.dtype([("hashes", "<u8", (n_hashes,)), ("index", "<u4")])
        for bucket in range(self.settings.buckets):
            held = np.fromfile(self.folder / f"bucket_{bucket:03d}" / f"{task:05d}.minhash.sig", dtype=kind)
            rows[held["index"], bucket] = held["hashes"]
        return rows.reshape(len(rows), -1)

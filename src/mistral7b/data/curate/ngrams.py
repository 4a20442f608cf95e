"""Runs of words as 64-bit numbers, and which of them stand in a set: the arithmetic of decontamination.

A word's number is its xxh3; a run's is sum(word[i] * M^(n-1-i)) modulo 2^64, so all runs of a text take n multiplications of
whole arrays. Two of 20 million runs against 5 million meet by chance with probability 5e-6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from mistral7b.data.curate.prompts import Prompt
from mistral7b.data.curate.words import plain_words

Hashes = NDArray[np.uint64]
_M = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing
_MOST_WORDS = 1_000_000  # remembered; a text has few different ones


class WordHashes(dict[str, int]):
    """The number of a word, remembered."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        self[word] = made = xxhash.xxh3_64_intdigest(word.encode())
        return made

    def of(self, words: list[str]) -> Hashes:
        return np.fromiter(map(self.__getitem__, words), dtype=np.uint64, count=len(words))


def runs(words: Hashes, n: int) -> Hashes:
    """The numbers of all runs of n words: [len(words) - n + 1], empty if there are fewer words."""
    length = len(words) - n + 1
    if length <= 0:
        return np.empty(0, np.uint64)
    total = words[:length].copy()
    for i in range(1, n):
        total = total * _M + words[i : i + length]
    return total


@dataclass(frozen=True)
class Table:
    """Runs of one length, sorted, and the prompt each is first found in."""

    n: int
    runs: Hashes
    prompts: NDArray[np.int32]

    def find(self, words: Hashes) -> list[tuple[int, int]]:
        """(Where a run begins, prompt) for every run of `words` that is in the table."""
        there = runs(words, self.n)
        if not len(there) or not len(self.runs):
            return []
        at = np.minimum(np.searchsorted(self.runs, there), len(self.runs) - 1)
        hits = np.flatnonzero(self.runs[at] == there)
        return [(int(i), int(self.prompts[at[i]])) for i in hits]


@dataclass(frozen=True)
class Index:
    """All that is looked for: one table for runs of n words, one for each length of shorter prompts."""

    tables: list[Table]
    places: list[tuple[str, int]]  # (file, line) of each prompt
    too_short: int  # prompts that are not looked for

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for table in self.tables:
            np.save(folder / f"{table.n:03d}.runs.npy", table.runs)
            np.save(folder / f"{table.n:03d}.prompts.npy", table.prompts)
        lines = [f"{line}\t{file}\n" for file, line in self.places]
        (folder / "places.tsv").write_text(f"{self.too_short}\n" + "".join(lines), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Mapped, not read: the workers of a machine share the pages."""
        tables = [
            Table(int(path.name[:3]), *(
                np.load(folder / f"{path.name[:3]}.{part}.npy", mmap_mode="r", allow_pickle=False) for part in ("runs", "prompts")
            ))
            for path in sorted(folder.glob("*.runs.npy"))
        ]  # fmt: skip
        first, *lines = (folder / "places.tsv").read_text(encoding="utf-8").splitlines()
        places = [(file, int(line)) for line, _, file in (held.partition("\t") for held in lines)]
        return cls(tables, places, int(first))


def build(prompts: Iterable[Prompt], n: int, shortest: int) -> Index:
    """Prompts of at least n words by all their runs of n, those of `shortest` to n - 1 words whole, the rest only counted."""
    places: list[tuple[str, int]] = []
    numbers, too_short = WordHashes(), 0
    parts: dict[int, tuple[list[Hashes], list[NDArray[np.int32]]]] = {length: ([], []) for length in range(shortest, n + 1)}
    for prompt in prompts:
        words = plain_words(prompt.text)
        length = min(n, len(words))
        if length < shortest:
            too_short += 1
            continue
        found = runs(numbers.of(words), length)
        parts[length][0].append(found)
        parts[length][1].append(np.full(len(found), len(places), np.int32))
        places.append((prompt.file, prompt.line))
    return Index([_table(length, *held) for length, held in parts.items() if held[0]], places, too_short)


def _table(n: int, found: list[Hashes], prompts: list[NDArray[np.int32]]) -> Table:
    distinct, first = np.unique(np.concatenate(found), return_index=True)
    return Table(n, distinct, np.concatenate(prompts)[first])

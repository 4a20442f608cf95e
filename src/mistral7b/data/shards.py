"""Token shards: the ids of whole sources on disk, each document as BOS ... EOS, read by memory map.

SHARDS/manifest.json                         what is there, with hashes; written last
SHARDS/tokenizer.model.v3                    the tokenizer that made them
SHARDS/train/SOURCE/00000.tokens.npy         ids of whole documents end to end, uint16 or uint32
SHARDS/train/SOURCE/00000.borders.npy        int64 [documents + 1], where each begins; the last is the length
SHARDS/held-out/SOURCE/...
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.manifest import check_sizes, each_source, read_manifest, table_of_files
from mistral7b.errors import DataError

FORMAT = "mistral7b-shards-1"
Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")
Ids = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
_NAME = re.compile(r"(train|held-out)/([^/\\]+)/(\d{5,})\.(tokens|borders)\.npy")


@dataclass(frozen=True, slots=True)
class Counts:
    """What one split of a source holds; `bytes` are UTF-8 bytes of the texts."""

    documents: int
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """One source: its kind and licence, and how many times over training is to see it."""

    kind: str
    licence: str
    epochs: float
    splits: dict[Split, Counts]


class Stream:
    """The shards of one source as one ring of ids, which goes on at its beginning where it ends.

    `shards` are (ids, borders) as on disk. Positions are counted over all of them; any integer is one, modulo `length`.
    """

    def __init__(self, shards: Sequence[tuple[Array, Array]]) -> None:
        self._shards = list(shards)
        self._starts = list(accumulate((len(ids) for ids, _ in shards), initial=0))
        self.length = self._starts[-1]

    def ids(self, start: int, count: int) -> Ids:
        """int64 `[count]`, the ids from position `start` on."""
        found = np.empty(count, dtype=np.int64)
        for shard, begin, end, at in self._pieces(start, count):
            found[at : at + end - begin] = self._shards[shard][0][begin:end]
        return found

    def borders(self, start: int, count: int) -> Ids:
        """Where documents begin after `start`, counted from it: int64, increasing, in `(0, count]`."""
        found = []
        for shard, begin, end, at in self._pieces(start, count):
            borders = self._shards[shard][1]
            first, last = borders.searchsorted((begin, end), side="right")
            found.append(borders[first:last] + (at - begin))
        return np.concatenate(found)

    def _pieces(self, start: int, count: int) -> list[tuple[int, int, int, int]]:
        """(Shard, its positions from, to, offset in the answer) that `count` positions from `start` on are made of."""
        pieces, done = [], 0
        while done < count:
            at = (start + done) % self.length
            shard = bisect_right(self._starts, at) - 1
            begin = at - self._starts[shard]
            end = min(self._starts[shard + 1] - self._starts[shard], begin + count - done)
            pieces.append((shard, begin, end, done))
            done += end - begin
        return pieces


class Shards:
    """A folder of token shards. Make one with `open`."""

    def __init__(self, folder: Path, manifest: dict[str, Any], sha256: str) -> None:
        path = folder / "manifest.json"
        self.folder, self.manifest = folder, manifest
        self.sha256 = sha256  # of the manifest: two folders with the same one hold the same tokens
        self.files = table_of_files(path, manifest)
        self.sources = {name: _source(path, name, value) for name, value in each_source(path, manifest)}
        made = manifest.get("tokenizer")
        if not isinstance(made, dict) or not isinstance(made.get("sha256"), str) or not isinstance(made.get("vocab_size"), int):
            raise DataError(f"{path} does not say which tokenizer made the shards; encode the documents again")
        self.tokenizer_sha256: str = made["sha256"]
        self.vocab_size: int = made["vocab_size"]
        self.tokenizer_version: str = str(made.get("version"))
        if manifest.get("dtype") not in ("uint16", "uint32"):
            raise DataError(f"{path} gives the ids no dtype, uint16 or uint32; encode the documents again")
        self.dtype: np.dtype[Any] = np.dtype(manifest["dtype"])

    @classmethod
    def open(cls, folder: Path, tokenizer: Path | None = None) -> Shards:
        """The shards in `folder`, after a look at the manifest and at every file's size, but not at their contents (`verify`).

        Raises DataError for a folder that is none or not finished, a file that is missing or cut short, and a `tokenizer`
        other than the one they were made with.
        """
        folder = Path(folder)
        shards = cls(folder, *read_manifest(folder, FORMAT, "mistral7b tokenizer encode"))
        check_sizes(folder, shards.files)
        if tokenizer is not None:
            shards._check_tokenizer(Path(tokenizer))
        return shards

    @property
    def tokenizer(self) -> Path:
        """The file of the tokenizer that made them."""
        return self.folder / f"tokenizer.model.{self.tokenizer_version}"

    def stream(self, split: Split, source: str) -> Stream:
        """One source's tokens. Raises DataError for a source that is not there or whose files are not what they should be."""
        if source not in self.sources:
            raise DataError(f"{self.folder} has no source {source!r}, only {', '.join(self.sources)}")
        names = (match for name in self.files if (match := _NAME.fullmatch(name)))
        numbers = {match[3] for match in names if match.group(1, 2) == (split, source)}
        stream = Stream([self._shard(f"{split}/{source}/{number}") for number in sorted(numbers, key=int)])
        counts = self.sources[source].splits[split]
        if stream.length != counts.tokens:
            raise DataError(
                f"{self.folder}: {split}/{source} holds {stream.length:,} tokens where its manifest states {counts.tokens:,}; "
                "encode the documents again"
            )
        return stream

    def verify(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Read every file and hold its hash against the manifest. `progress` is told (bytes read, bytes in all).

        Raises DataError for the first file that was changed."""
        total, done = sum(held.size for held in self.files.values()), 0

        def read(n_bytes: int) -> None:
            nonlocal done
            done += n_bytes
            if progress is not None:
                progress(done, total)

        for name, held in self.files.items():
            if sha256_of(self.folder / name, read) != held.sha256:
                raise DataError(f"{self.folder / name} was changed since it was written; encode the documents again")

    def _check_tokenizer(self, tokenizer: Path) -> None:
        try:
            found = sha256_of(tokenizer)
        except OSError as error:
            raise DataError(f"{tokenizer} cannot be read: {error.strerror or error}") from None
        if found != self.tokenizer_sha256:
            raise DataError(
                f"{self.folder} was made with another tokenizer than {tokenizer}: sha256 {self.tokenizer_sha256[:12]}..., not "
                f"{found[:12]}...; encode the documents again with this one, or train with {self.tokenizer}"
            )

    def _shard(self, base: str) -> tuple[Array, Array]:
        ids = mapped(self.folder / f"{base}.tokens.npy", self.dtype)
        borders = mapped(self.folder / f"{base}.borders.npy", np.dtype(np.int64))
        if len(borders) < 2 or borders[0] != 0 or borders[-1] != len(ids):
            raise DataError(f"{self.folder / base}.borders.npy does not fit its tokens; encode the documents again")
        return ids, borders


def _source(path: Path, name: str, value: dict[str, Any]) -> Source:
    splits: dict[Split, Counts] = {}
    for split in SPLITS:
        counts = value.get(split)
        numbers = [counts.get(key) if isinstance(counts, dict) else None for key in ("documents", "tokens", "bytes")]
        if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
            raise DataError(f"{path} does not count the {split} documents, tokens and bytes of {name}; encode them again")
        splits[split] = Counts(*cast(list[int], numbers))
    return Source(str(value.get("kind")), str(value.get("licence")), float(value["epochs"]), splits)


def mapped(path: Path, dtype: np.dtype[Any]) -> Array:
    """A one-dimensional .npy file as a plain array over its memory map."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array: {error}") from None
    if found.dtype != dtype or found.ndim != 1:
        raise DataError(f"{path} holds {found.ndim} dimensions of {found.dtype}, not one of {dtype}; encode the documents again")
    return np.asarray(found)  # slices of a memmap cost microseconds more

"""Documents to token shards: one pass, on several threads, that goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.documents import Documents, OnBadLine
from mistral7b.data.manifest import MANIFEST
from mistral7b.data.shards import FORMAT, SPLITS, Counts, Shards, Split, mapped
from mistral7b.errors import DataError
from mistral7b.tokens.tokenizer import Tokenizer

DEFAULT_SHARD_TOKENS = 1 << 26
_PLAN = "encoding.json"  # what an unfinished folder is being made of
_TOGETHER = 1 << 18  # bytes of text that one thread encodes at a time
Progress = Callable[[int, int, str], None]


@dataclass(slots=True)
class Encoded:
    """What `encode` made: counts of each source and split, lines left out, and the shards found finished already."""

    sources: dict[str, dict[Split, Counts]] = field(default_factory=dict)
    bad_lines: int = 0
    kept_shards: int = 0

    @property
    def tokens(self) -> int:
        return sum(counts.tokens for splits in self.sources.values() for counts in splits.values())


def encode(
    documents: Path,
    out: Path,
    tokenizer: Path,
    *,
    workers: int = 1,
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    skip_bad_lines: bool = False,
    on_bad_line: OnBadLine | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Writes the shards of a folder of documents into `out`, on `workers` threads; the same bytes for any number of them.

    A shard ends with the document that brings it to `shard_tokens`. Finished shards of an earlier run with the same
    documents, tokenizer and `shard_tokens` are kept; the manifest is written last. A line that is no document is refused, or
    with `skip_bad_lines` left out, counted, and told to `on_bad_line`. `progress` is told (bytes of text done, in all, what).
    Raises DataError for such a line, an empty source, or an `out` that holds anything else; CheckpointError for a disk that
    is full (what is finished stays); TokenizerError.
    """
    given, words = Documents.open(documents), Tokenizer.load(tokenizer)
    plan = {
        "format": FORMAT,
        "tokenizer": {"sha256": sha256_of(words.path), "vocab_size": words.vocab_size, "version": words.version},
        "dtype": "uint16" if words.vocab_size <= 1 << 16 else "uint32",
        "documents_sha256": given.sha256,
        "shard_tokens": shard_tokens,
        "skip_bad_lines": skip_bad_lines,
    }
    for name, source in given.sources.items():
        if not source.sizes["train"]:
            raise _empty(given, name)
    _prepare(out, plan, words)
    encoded, done, total = Encoded(), 0, sum(sum(source.sizes.values()) for source in given.sources.values())

    def bad(error: DataError) -> None:
        encoded.bad_lines += 1
        if on_bad_line is not None:
            on_bad_line(error)

    for name in given.sources:
        encoded.sources[name] = {}
        for split in SPLITS:
            writer = _Writer(out / split / name, np.dtype(str(plan["dtype"])), shard_tokens)
            encoded.kept_shards += writer.kept
            for batch in _batches(given.texts(split, name, bad if skip_bad_lines else None), _TOGETHER * workers):
                done += writer.add(batch, words, workers)
                if progress is not None:
                    progress(done, total, f"{split}/{name}")
            encoded.sources[name][split] = writer.close()
        if not encoded.sources[name]["train"].documents:
            raise _empty(given, name)
    _finish(out, plan, given, encoded)
    return encoded


class _Writer:
    """The shards of one source and split: those in `folder` already are kept, and the documents in them passed over."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self._folder, self._dtype, self._shard_tokens = folder, dtype, shard_tokens
        self._passed = self._documents = self._tokens = self._bytes = self.kept = 0
        self._held: list[list[int]] = []
        self._n_held = 0
        while _path(folder, self.kept, "tokens").exists():
            borders = mapped(_path(folder, self.kept, "borders"), np.dtype(np.int64))
            self._passed += len(borders) - 1
            self._tokens += int(borders[-1])
            self.kept += 1
        self._next = self.kept

    def add(self, texts: Sequence[str], tokenizer: Tokenizer, threads: int) -> int:
        """Encodes and takes up `texts`, the source's next; returns their bytes."""
        size = sum(len(text.encode()) for text in texts)
        new = texts[max(0, self._passed - self._documents) :]
        self._documents += len(texts)
        self._bytes += size
        for ids in tokenizer.encode_many(new, threads=threads) if new else ():
            self._held.append([tokenizer.bos_id, *ids, tokenizer.eos_id])
            self._n_held += len(ids) + 2
            if self._n_held >= self._shard_tokens:
                self._write()
        return size

    def close(self) -> Counts:
        """Writes what is left over and tells what the source holds."""
        if self._held:
            self._write()
        return Counts(self._documents, self._tokens, self._bytes)

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        save_shard(self._folder, self._next, self._held, self._dtype)
        self._tokens += self._n_held
        self._next, self._held, self._n_held = self._next + 1, [], 0


def save_shard(folder: Path, number: int, documents: Sequence[Sequence[int]], dtype: np.dtype[Any]) -> None:
    """One shard, its tokens last: where they are, it is whole. Raises CheckpointError if it cannot be written."""
    borders = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    tokens = np.fromiter((id for ids in documents for id in ids), dtype, count=int(borders[-1]))
    for what, array in (("borders", borders), ("tokens", tokens)):
        with (
            aside(_path(folder, number, what), needs=array.nbytes + 128, folder=False, force=True) as made,
            made.open("wb") as file,
        ):
            np.save(file, array, allow_pickle=False)


def write_manifest(out: Path, plan: dict[str, Any], sources: dict[str, dict[str, Any]]) -> None:
    """Hashes the shards in `out` into its manifest, whose other keys are those of `plan`."""
    paths = sorted(path for split in SPLITS for path in (out / split).glob("*/[0-9]*.npy"))
    files = {path.relative_to(out).as_posix(): {"sha256": sha256_of(path), "size": path.stat().st_size} for path in paths}
    _write_json(out / MANIFEST, plan | {"files": files, "sources": sources})


def _empty(documents: Documents, source: str) -> DataError:
    return DataError(f"{documents.folder}: the source {source} has no documents to train on; leave it out of the recipe")


def _batches(texts: Iterator[str], n_bytes: int) -> Iterator[list[str]]:
    """`texts` in runs of some `n_bytes`."""
    batch, held = [], 0
    for text in texts:
        batch.append(text)
        held += len(text)
        if held >= n_bytes:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _prepare(out: Path, plan: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Makes `out`, or makes sure that what it holds belongs to `plan`; removes what a killed run left half-written."""
    stated = out / _PLAN
    if stated.is_file():
        try:
            found = json.loads(stated.read_bytes())
        except (OSError, ValueError):
            found = None
        if found != plan:
            raise DataError(
                f"{out} holds shards of other documents, another tokenizer or other options, unfinished; "
                "choose another folder, or delete it"
            )
    elif (out / MANIFEST).exists():
        finished = Shards.open(out, tokenizer.path)
        if any(finished.manifest.get(key) != value for key, value in plan.items()):
            raise DataError(f"{out} holds shards of other documents or options; choose another folder, or delete it")
        finished.verify()
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} holds something that is no shards; choose another folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        _write_json(stated, plan)
    for left in (*out.glob(".*.partial"), *out.glob("*/*/.*.partial")):
        shutil.rmtree(left, ignore_errors=True)
    copy = out / f"tokenizer.model.{tokenizer.version}"
    if not copy.exists():
        with aside(copy, needs=tokenizer.path.stat().st_size, folder=False, force=True) as made:
            shutil.copyfile(tokenizer.path, made)


def _finish(out: Path, plan: dict[str, Any], documents: Documents, encoded: Encoded) -> None:
    sources: dict[str, dict[str, Any]] = {}
    for name, source in documents.sources.items():
        facts = {"kind": source.kind, "licence": source.licence, "epochs": source.epochs}
        sources[name] = facts | {split: asdict(counts) for split, counts in encoded.sources[name].items()}
    write_manifest(out, plan | {"bad_lines": encoded.bad_lines}, sources)
    (out / _PLAN).unlink(missing_ok=True)


def _path(folder: Path, number: int, what: str) -> Path:
    return folder / f"{number:05d}.{what}.npy"


def _write_json(path: Path, value: object) -> None:
    raw = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    with aside(path, needs=len(raw), folder=False, force=True) as made:
        made.write_bytes(raw)

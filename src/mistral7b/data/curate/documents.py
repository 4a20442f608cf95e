"""The folder of documents: what the last stage writes, and the manifest by which the next program knows it.

DOCUMENTS/manifest.json   train/<source>/<00000>.jsonl.gz   held-out/<source>/<00000>.jsonl.gz
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import orjson
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.curate.book import Tally
from mistral7b.data.curate.files import gzip_lines, write_json
from mistral7b.data.curate.plan import Unit

TRAIN, HELD_OUT = "train", "held-out"
SPLITS = (TRAIN, HELD_OUT)
_FIRST = ("source", "kind", "language", "licence")
_INNER = ("size", "number", "index", "split")  # of this program, not of the document


def split_of(text: str, fraction: float) -> str:
    """On which side a text stands: by its hash alone, so that it stands there in every run and beside any other texts."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return HELD_OUT if number < fraction * 2**64 else TRAIN


class Assign(PipelineStep):
    """Every document to its side, before long ones are cut: the parts of one text stay on one side."""

    type, name = "CURATE", "assign"

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        for document in data:
            document.metadata["split"] = split_of(document.text, self.fraction)
            yield document


class Write(PipelineStep):
    """The last block: the files of a unit, and a note of what is in them. A split without documents has no file."""

    type, name = "CURATE", "write"

    def __init__(self, out: Path, notes: Path, units: list[Unit]) -> None:
        super().__init__()
        self.out, self.notes, self.units = out, notes, units

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        unit = self.units[rank]
        names = {split: f"{split}/{unit.source}/{unit.number:05d}.jsonl.gz" for split in SPLITS}
        tallies = {split: Tally() for split in SPLITS}
        languages: dict[str, int] = {}
        with ExitStack() as stack:
            files: dict[str, IO[bytes]] = {}
            for document in data:
                split = document.metadata["split"]
                if split not in files:
                    files[split] = stack.enter_context(gzip_lines(self.out / names[split]))
                files[split].write(_line(document))
                tallies[split].add(*document.metadata["size"])
                language = document.metadata["language"]
                languages[language] = languages.get(language, 0) + document.metadata["size"][0]
                yield document
        listed = {}
        for split in files:
            path, tally = self.out / names[split], tallies[split]
            listed[names[split]] = {
                "sha256": sha256_of(path),
                "size": path.stat().st_size,
                "documents": tally.documents,
                "bytes": tally.bytes,
            }
        held = {split: tally.to_json() for split, tally in tallies.items()}
        write_json(self.notes / f"{rank:06d}.json", {"source": unit.source, "files": listed, "languages": languages, **held})


def _line(document: Document) -> bytes:
    held = document.metadata
    more = {key: value for key, value in held.items() if key not in _FIRST and key not in _INNER}
    return orjson.dumps({"id": document.id, "text": document.text, **{key: held[key] for key in _FIRST}, **more}) + b"\n"


def gathered(notes: list[dict[str, Any]], sources: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What was written by source: {"train": {documents, bytes, tokens}, "held-out": ..., "languages": {"en": bytes}}."""
    found: dict[str, dict[str, Any]] = {}
    for name in sources:
        own = [note for note in notes if note["source"] == name]
        languages: dict[str, int] = {}
        for note in own:
            for language, n_bytes in note["languages"].items():
                languages[language] = languages.get(language, 0) + n_bytes
        sides = {
            split: {key: sum(note[split][key] for note in own) for key in ("documents", "bytes", "tokens")} for split in SPLITS
        }
        found[name] = {**sides, "languages": dict(sorted(languages.items(), key=lambda item: (-item[1], item[0])))}
    return found

"""A folder of documents as curation leaves it, read: texts by source and split.

DOCUMENTS/manifest.json                      what is there, with hashes
DOCUMENTS/train/SOURCE/00000.jsonl.gz        one document a line, {"text": ..., ...}
DOCUMENTS/held-out/SOURCE/...
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.manifest import check_sizes, each_source, read_manifest, table_of_files
from mistral7b.data.shards import SPLITS, Split
from mistral7b.errors import DataError

FORMAT = "mistral7b-documents-1"
OnBadLine = Callable[[DataError], None]


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """One source: `sizes` are its UTF-8 bytes of text in each split, as the manifest counts them."""

    kind: str
    licence: str
    epochs: float
    sizes: dict[Split, int]


class Documents:
    """Curated documents. `sha256` is that of the manifest, which tells two folders apart."""

    def __init__(self, folder: Path, manifest: dict[str, Any], sha256: str) -> None:
        path = folder / "manifest.json"
        self.folder, self.sha256 = folder, sha256
        self.files = table_of_files(path, manifest)
        self.sources: dict[str, DocumentSource] = {}
        for name, value in sorted(each_source(path, manifest)):
            sizes: dict[Split, int] = {split: _bytes(path, name, value.get(split)) for split in SPLITS}
            self.sources[name] = DocumentSource(str(value.get("kind")), str(value.get("licence")), float(value["epochs"]), sizes)

    @classmethod
    def open(cls, folder: Path) -> Documents:
        """The documents in `folder`. Raises DataError for a folder that is none, or lacks a file or part of one."""
        folder = Path(folder)
        documents = cls(folder, *read_manifest(folder, FORMAT, "mistral7b curate"))
        check_sizes(folder, documents.files)
        return documents

    def names(self, split: Split, source: str) -> list[str]:
        """The files of one source in one split, in their order."""
        held = (name for name in self.files if name.rsplit("/", 1)[0] == f"{split}/{source}")
        return sorted(held, key=lambda name: (len(name), name))

    def texts(self, split: Split, source: str, on_bad_line: OnBadLine | None = None) -> Iterator[str]:
        """The texts of one source, in order; each file is held against its hash before it is read.

        Raises DataError, with file and line, for a line that is no document; with `on_bad_line` that is told of it instead
        and the line is left out. Raises DataError for a file that was changed or cannot be read.
        """
        for name in self.names(split, source):
            path = self.folder / name
            if sha256_of(path) != self.files[name].sha256:
                raise DataError(f"{path} was changed since it was written; curate the documents again")
            yield from read_jsonl(path, on_bad_line)


def read_jsonl(path: Path, on_bad_line: OnBadLine | None = None) -> Iterator[str]:
    """The "text" of each line of a JSONL file (.gz too); empty lines are none. Raises as `Documents.texts` does."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield _text(line)
                except ValueError as error:
                    bad = DataError(f"{path}, line {number}: {error}")
                    if on_bad_line is None:
                        raise bad from None
                    on_bad_line(bad)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _text(line: bytes) -> str:
    """The text of one document; ValueError in a few words for a line that is none."""
    try:
        found = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON; each line must be one object") from None
    text = found.get("text") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise ValueError('not an object with a "text"')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("its text holds a lone surrogate, which is not Unicode text") from None
    return text


def _bytes(path: Path, name: str, counts: object) -> int:
    size = counts.get("bytes") if isinstance(counts, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise DataError(f"{path} does not count the bytes of {name}; curate the documents again")
    return size

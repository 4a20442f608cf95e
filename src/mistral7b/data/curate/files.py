"""Files between the stages and at the end: whole or not at all, and the same bytes each time."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import orjson
import zstandard
from datatrove.data import Document

from mistral7b.checkpoint import aside

_LEVEL = 6  # of gzip: 9 takes twice as long for 1% less


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """`aside.written`, in a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside.written(path) as file:
        yield file


def sweep(folder: Path) -> None:
    """Removes what a kill left half-written; nobody else may be writing in `folder`."""
    for left in list(folder.rglob(f".*{aside.PARTIAL}")):
        left.unlink()


def write_json(path: Path, value: Any) -> None:
    with written(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


@contextmanager
def gzip_lines(path: Path) -> Iterator[IO[bytes]]:
    """A .gz to write lines to, that names neither a time nor itself."""
    with written(path) as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        yield cast(IO[bytes], packed)  # a stream to write, whatever its class


def save_documents(path: Path, documents: Iterable[Document]) -> Iterator[Document]:
    """Writes documents as zstd lines while passing them on."""
    with written(path) as file, zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as packed:
        for document in documents:
            packed.write(orjson.dumps([document.id, document.text, document.metadata]) + b"\n")
            yield document


def load_documents(path: Path) -> Iterator[Document]:
    """What `save_documents` wrote, each with its `index` in the file."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as packed:
        left = b""
        index = 0
        while block := packed.read(1 << 20):
            *lines, left = (left + block).split(b"\n")
            for line in lines:
                id, text, metadata = orjson.loads(line)
                yield Document(text=text, id=id, metadata={**metadata, "index": index})
                index += 1

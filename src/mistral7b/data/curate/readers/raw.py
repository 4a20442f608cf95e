"""What readers have in common: texts as found, lines that are broken, and files that may be compressed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from mistral7b.errors import DataError

COMPRESSED = (".gz", ".bz2", ".zst")


@dataclass(frozen=True)
class Raw:
    """One text. `where` tells it apart within its source and says where to look: `folder/file.jsonl:12`.
    `extra` is carried along, and may override `licence` and `language`. `number` counts texts of one file."""

    text: str
    where: str
    extra: Mapping[str, str] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True)
class Bad:
    """A line, record or file that is no text; `why` in a few words."""

    where: str
    why: str


Found = Iterator[Raw | Bad]


def bare_suffix(path: Path) -> str:
    """The suffix under a compression's: `.jsonl` of `a.jsonl.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of `path`, decompressed by its suffix. Raises DataError for a file that is cut off or damaged."""
    try:
        with _open(path) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the compressed file is cut off or damaged ({error}); fetch it again") from None


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))  # bytes to read, whatever its class; here and below
    if suffix == ".bz2":
        import bz2

        return cast(IO[bytes], bz2.open(path, "rb"))
    if suffix == ".zst":
        return io.BufferedReader(_ZstReader(path))
    return path.open("rb")


class _ZstReader(io.RawIOBase):
    """A zstd file of one frame or several. The library itself takes a cut-off file for a short one; here it is an EOFError."""

    def __init__(self, path: Path) -> None:
        import zstandard

        self._file = path.open("rb")
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._fresh = True  # nothing of the current frame was read yet
        self._error = zstandard.ZstdError
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type] # a buffer, as RawIOBase passes it
        while not self._rest:
            data = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._fresh = self._new(), True
            data = data or self._file.read(1 << 17)
            if not data:
                if not self._fresh:
                    raise EOFError("end of file inside a frame")
                return 0
            try:
                self._rest = self._frame.decompress(data)
            except self._error as error:
                raise EOFError(str(error)) from None
            self._fresh = False
        n = min(len(view), len(self._rest))
        view[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n

    def close(self) -> None:
        self._file.close()
        super().close()

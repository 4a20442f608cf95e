"""Which blocks of a torrent lie on this disk already, whoever wrote them and however that ended.

A block that is not all zeros was written; whether rightly, libtorrent finds out by the hash of its piece, which it takes as soon
as all blocks of a piece are there. So a fetch that was killed loses only what had not left its memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

BLOCK = 16 << 10  # bytes, of both versions of BitTorrent
_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class Extent:
    """A file within the torrent's stream of bytes; `path` None for padding, which is zeros that nobody stores."""

    path: Path | None
    offset: int
    size: int


def landed(extents: Sequence[Extent], piece_length: int) -> dict[int, list[bool]]:
    """Of every piece that has a block on the disk: which of its blocks are there.

    `extents` follow one another without a gap. Raises OSError for a file that cannot be read.
    """
    total = extents[-1].offset + extents[-1].size
    found: dict[int, list[bool]] = {}
    with ExitStack() as stack:
        files = [_open(stack, extent) for extent in extents]
        first = 0
        for piece in range(-(-total // piece_length)):
            start, end = piece * piece_length, min((piece + 1) * piece_length, total)
            while first + 1 < len(extents) and extents[first + 1].offset <= start:
                first += 1
            blocks = [_written(extents, files, first, at, min(at + BLOCK, end)) for at in range(start, end, BLOCK)]
            if any(blocks):
                found[piece] = blocks
    return found


def bytes_by_file(extents: Sequence[Extent], pieces: Sequence[int], piece_length: int) -> dict[str, int]:
    """How many bytes of each file, by its name, are in these pieces; files without any are left out."""
    found: dict[str, int] = {}
    for extent in extents:
        end = extent.offset + extent.size
        parts = (min((piece + 1) * piece_length, end) - max(piece * piece_length, extent.offset) for piece in pieces)
        size = sum(part for part in parts if part > 0)
        if size and extent.path is not None:
            found[extent.path.name] = size
    return found


def _open(stack: ExitStack, extent: Extent) -> int | None:
    if extent.path is None or not extent.path.is_file():
        return None
    handle = os.open(extent.path, os.O_RDONLY)
    stack.callback(os.close, handle)
    return handle


def _written(extents: Sequence[Extent], files: Sequence[int | None], first: int, start: int, end: int) -> bool:
    """Whether the bytes [start, end) of the stream are in their files, and not all zeros."""
    some = False
    for index in range(first, len(extents)):
        extent = extents[index]
        if extent.offset >= end:
            break
        low, high = max(start, extent.offset), min(end, extent.offset + extent.size)
        if low >= high or extent.path is None:
            continue
        handle = files[index]
        data = b"" if handle is None else os.pread(handle, high - low, low - extent.offset)
        if len(data) < high - low:
            return False
        some = some or data != _ZEROS[: len(data)]
    return some

"""sha256 of files, read in small blocks so that a 14 GB shard costs no memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 20  # bytes


def sha256_of(path: Path, read: Callable[[int], None] | None = None) -> str:
    """Hex sha256 of the file `path`; `read` is told the size of each block. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if read is not None:
                read(len(block))
    return digest.hexdigest()

"""One sha256 a tensor: the same weights have the same hashes in every format that keeps their type."""

from __future__ import annotations

import hashlib

from mistral7b.checkpoint.source import TensorSource
from mistral7b.checkpoint.write import raw_bytes


def tensor_hashes(source: TensorSource) -> dict[str, str]:
    """sha256 over dtype, shape and bytes of every tensor of `source`, by consolidated name, in model order.

    Names and row order are the consolidated ones whatever the file's, so an HF folder and a consolidated one compare equal.
    Raises CheckpointError for a tensor that cannot be read.
    """
    hashes: dict[str, str] = {}
    for name in source.names():
        tensor = source.get(name)
        digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(raw_bytes(tensor))
        hashes[name] = digest.hexdigest()
    return hashes

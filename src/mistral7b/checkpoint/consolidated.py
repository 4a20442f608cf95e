"""ConsolidatedSource: Mistral's own release format as safetensors, mapped from disk as it is."""

from __future__ import annotations

from pathlib import Path

import torch

from mistral7b.checkpoint.shards import Shards
from mistral7b.checkpoint.source import ClosesItself, in_model_order
from mistral7b.errors import CheckpointError

SINGLE, INDEX = "consolidated.safetensors", "consolidated.safetensors.index.json"


class ConsolidatedSource(ClosesItself):
    """A TensorSource over consolidated.safetensors, or its shards with an index; nothing is reordered.

    With `mapped=False` every tensor is read into memory of its own. Raises CheckpointError: see Shards.
    """

    def __init__(self, folder: Path, *, mapped: bool = True) -> None:
        if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
            raise CheckpointError(f"{folder} has neither {SINGLE} nor {INDEX}")
        self._shards = Shards(folder, single=SINGLE, index=INDEX)
        self._mapped = mapped

    def names(self) -> list[str]:
        return in_model_order(self._shards.names())

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shards.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        return self._shards.dtype(name)

    def get(self, name: str) -> torch.Tensor:
        return self._shards.mapped(name) if self._mapped else self._shards.read(name)

    def close(self) -> None:
        self._shards.close()

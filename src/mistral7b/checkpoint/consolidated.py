"""ConsolidatedSource: Mistral's own release format as safetensors, mapped from disk as it is."""

from __future__ import annotations

from pathlib import Path

import torch

from mistral7b.checkpoint.residency import drop_pages
from mistral7b.checkpoint.shards import Shards
from mistral7b.checkpoint.source import ClosesItself, in_model_order
from mistral7b.errors import CheckpointError

SINGLE, INDEX = "consolidated.safetensors", "consolidated.safetensors.index.json"


class ConsolidatedSource(ClosesItself):
    """A TensorSource over consolidated.safetensors, or its shards with an index; nothing is reordered.

    Raises CheckpointError: see Shards.
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
        if self._mapped:
            return self._shards.get(name)
        out = torch.empty(self.shape(name), dtype=self.dtype(name))
        self.fill(name, out)
        return out

    def fill(self, name: str, out: torch.Tensor) -> None:
        mapped = self._shards.get(name)
        out.copy_(mapped)
        drop_pages(mapped)

    def close(self) -> None:
        self._shards.close()

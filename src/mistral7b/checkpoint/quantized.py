"""QuantizedSource: our own folder of packed matrices, mapped from disk as the kernels read them.

quantized.safetensors, or its shards with an index, holds under consolidated names NAME.weight.blocks (uint8) and, where the
format has channel scales, NAME.weight.scales (fp32) for a packed matrix, and NAME.weight for what stays plain: embeddings and
norms, perhaps the head. The width of a block tells the format, the config the shape without padding.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from mistral7b.checkpoint.residency import drop_pages
from mistral7b.checkpoint.shards import Shards
from mistral7b.checkpoint.source import ClosesItself, expected_shape, in_model_order
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError
from mistral7b.quant.formats import BY_BLOCK_BYTES, PackedFormat, blocks_shape, packed_bytes, padded
from mistral7b.quant.matrix import PackedMatrix

SINGLE, INDEX = "quantized.safetensors", "quantized.safetensors.index.json"
LAYOUT_KEY, LAYOUT = "mistral7b.packed", "2"  # in the metadata of each file: how the bytes of a block stand
BLOCKS, SCALES = ".blocks", ".scales"


class QuantizedSource(ClosesItself):
    """A TensorSource over a quantised folder. `get` decodes a packed matrix into float32, and `dtype` says so.

    Raises CheckpointError: see Shards, and for blocks or scales that are none of this config's.
    """

    def __init__(self, folder: Path, config: ModelConfig, *, mapped: bool = True) -> None:
        if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
            raise CheckpointError(f"{folder} has neither {SINGLE} nor {INDEX}")
        self._shards = Shards(folder, single=SINGLE, index=INDEX)
        for file, metadata in self._shards.metadata().items():
            if (layout := metadata.get(LAYOUT_KEY)) != LAYOUT:
                raise CheckpointError(
                    f"{folder / file} is packed in layout {layout!r:.20}, this program reads {LAYOUT!r}; quantise the model again"
                )
        self._config = config
        self._mapped = mapped
        self._stored = set(self._shards.names())

    def names(self) -> list[str]:
        blocks = {name.removesuffix(BLOCKS) for name in self._stored if name.endswith(BLOCKS)}
        scales = {name + SCALES for name in blocks}
        return in_model_order((self._stored - {name + BLOCKS for name in blocks} - scales) | blocks)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shards.shape(name) if self.packed_format(name) is None else self._matrix(name)

    def dtype(self, name: str) -> torch.dtype:
        return self._shards.dtype(name) if self.packed_format(name) is None else torch.float32

    def get(self, name: str) -> torch.Tensor:
        if self.packed_format(name) is not None:
            packed = self.packed(name)
            dense = packed.dense(torch.float32)
            drop_pages(packed.blocks)
            return dense
        if self._mapped:
            return self._shards.get(name)
        out = torch.empty(self.shape(name), dtype=self.dtype(name))
        self.fill(name, out)
        return out

    def fill(self, name: str, out: torch.Tensor) -> None:
        if self.packed_format(name) is not None:
            out.copy_(self.get(name))
            return
        mapped = self._shards.get(name)
        out.copy_(mapped)
        drop_pages(mapped)

    def packed_format(self, name: str) -> PackedFormat | None:
        if name + BLOCKS not in self._stored:
            return None
        shape, stored = self._matrix(name), self._shards.shape(name + BLOCKS)
        form = BY_BLOCK_BYTES.get(stored[-1]) if stored else None
        wanted = None if form is None else blocks_shape(form, shape)
        if form is None or stored != wanted or self._shards.dtype(name + BLOCKS) != torch.uint8:
            raise CheckpointError(f"{name} has blocks {list(stored)}, no packing of the {list(shape)} that the config asks for")
        rows, scales = padded(shape)[0], name + SCALES
        held = (self._shards.shape(scales), self._shards.dtype(scales)) if scales in self._stored else None
        if held != (((rows,), torch.float32) if form.has_channel_scales else None):
            raise CheckpointError(f"{name} is packed as {form.name} but its channel scales are missing or of another kind")
        return form

    def packed(self, name: str) -> PackedMatrix:
        form = self.packed_format(name)
        assert form is not None, name
        scales = self._shards.get(name + SCALES) if form.has_channel_scales else None
        return PackedMatrix(form.name, self._matrix(name), self._shards.get(name + BLOCKS), scales)

    def close(self) -> None:
        self._shards.close()

    def describe(self) -> str:
        """ "int4, head int5, 4.32 bits a weight": the matrices' formats, the layers' first, and their bits with all scales."""
        kinds: dict[str, None] = {}
        n_bytes = n_weights = 0
        for name in self.names():
            shape, form = self.shape(name), self.packed_format(name)
            if len(shape) != 2 or name == "tok_embeddings.weight":
                continue
            kind = form.name if form is not None else str(self._shards.dtype(name)).removeprefix("torch.")
            kinds[f"head {kind}" if name == "output.weight" else kind] = None
            n_weights += math.prod(shape)
            n_bytes += math.prod(shape) * self.dtype(name).itemsize if form is None else packed_bytes(form, self._matrix(name))
        return f"{', '.join(kinds)}, {8 * n_bytes / max(1, n_weights):.2f} bits a weight"

    def _matrix(self, name: str) -> tuple[int, int]:
        shape = expected_shape(self._config, name)
        if shape is None or len(shape) != 2:
            raise CheckpointError(f"the weights hold {name}{BLOCKS}, which the config has no place for")
        return shape[0], shape[1]

"""quantized.safetensors out: the places of all tensors are known before the first, which may then come in any order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import torch

from mistral7b.checkpoint.quantized import BLOCKS, LAYOUT, LAYOUT_KEY, SCALES, SINGLE
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.checkpoint.write import Place, raw_bytes, safetensors_header
from mistral7b.config import ModelConfig
from mistral7b.quant.formats import FORMATS, FormatName, blocks_shape, padded
from mistral7b.quant.matrix import PackedMatrix

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector of any instruction set


def places(config: ModelConfig, formats: Mapping[str, FormatName]) -> list[Place]:
    """Every tensor of the file in its order; matrices named in `formats` are packed, all else is bfloat16.

    Those whose size is a multiple of 64 bytes come first, so that each of them begins at one: all that is packed, and all
    else at any usual width.
    """
    held: list[Place] = []
    for name, shape in expected_shapes(config).items():
        if name not in formats:
            held.append(Place(name, torch.bfloat16, shape))
            continue
        form, matrix = FORMATS[formats[name]], cast("tuple[int, int]", shape)
        held.append(Place(name + BLOCKS, torch.uint8, blocks_shape(form, matrix)))
        if form.has_channel_scales:
            held.append(Place(name + SCALES, torch.float32, (padded(matrix)[0],)))
    return sorted(held, key=lambda place: place.n_bytes % _ALIGNMENT != 0)


class QuantizedWriter:
    """Writes `folder`/quantized.safetensors, each tensor once. Raises OSError. Leave it by `with`: the file is whole then."""

    def __init__(self, folder: Path, config: ModelConfig, formats: Mapping[str, FormatName]) -> None:
        held = places(config, formats)
        head = safetensors_header(held, {"format": "pt", LAYOUT_KEY: LAYOUT}, alignment=_ALIGNMENT)
        self._places, self._starts, start = {place.name: place for place in held}, dict[str, int](), len(head)
        for place in held:
            self._starts[place.name] = start
            start += place.n_bytes
        self._left = set(self._places)
        self._file = (folder / SINGLE).open("wb")
        self._file.write(head)
        self._file.truncate(start)

    def put(self, name: str, value: torch.Tensor | PackedMatrix) -> int:
        """One tensor of the model: packed if `formats` named it, else plain and rounded to bfloat16. Returns its bytes."""
        if isinstance(value, torch.Tensor):
            return self._put(name, value.to(torch.bfloat16))
        scales = 0 if value.scales is None else self._put(name + SCALES, value.scales)
        return self._put(name + BLOCKS, value.blocks) + scales

    def _put(self, name: str, tensor: torch.Tensor) -> int:
        place = self._places[name]
        assert (tensor.dtype, tuple(tensor.shape)) == (place.dtype, place.shape), name
        self._left.remove(name)
        self._file.seek(self._starts[name])
        return self._file.write(raw_bytes(tensor))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        assert kind is not None or not self._left, self._left

"""safetensors out, one tensor in memory at a time: the library's own writer wants a whole file's tensors at once.

Format: 8 bytes of header length, a JSON header padded with spaces to a multiple of 8, the tensors back to back.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.uint8: "U8"}
_METADATA = {"format": "pt"}  # without it transformers refuses the file
SHARD_BYTES = 5_000_000_000  # Hugging Face's own limit for one file


@dataclass(frozen=True, slots=True)
class Place:
    """The name and look of one tensor in a new file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Row(Place):
    """One tensor to be written, and `get`, which reads and converts it."""

    get: Callable[[], torch.Tensor]

    def data(self) -> memoryview:
        """The bytes as they go to disk, row-major, little-endian."""
        tensor = self.get()
        assert tensor.dtype == self.dtype
        assert tuple(tensor.shape) == self.shape
        return raw_bytes(tensor)


Wrote = Callable[[int], None]  # told the size of each tensor as it is written


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """The memory of a dense tensor, row-major; a copy where the tensor is not contiguous or not on the CPU."""
    data: memoryview = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return data


def write_safetensors(path: Path, rows: Sequence[Row], wrote: Wrote) -> None:
    """One file with `rows` in their order, wider types first so that every tensor is aligned. Raises OSError."""
    ordered = sorted(rows, key=lambda row: -row.dtype.itemsize)
    with path.open("wb") as file:
        file.write(safetensors_header(ordered, _METADATA))
        for row in ordered:
            file.write(row.data())
            wrote(row.n_bytes)


def safetensors_header(places: Sequence[Place], metadata: Mapping[str, str], *, alignment: int = 8) -> bytes:
    """What stands before the tensors of a file, which follow in the order of `places` from a multiple of `alignment` on."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for place in places:
        start, end = end, end + place.n_bytes
        header[place.name] = {"dtype": _CODES[place.dtype], "shape": list(place.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % alignment)
    return struct.pack("<Q", len(text)) + text


def write_shards(folder: Path, rows: Sequence[Row], wrote: Wrote, *, limit: int = SHARD_BYTES) -> None:
    """model.safetensors, or model-0000i-of-0000n.safetensors of at most `limit` bytes with their index. Raises OSError."""
    shards = _split(rows, limit)
    if len(shards) == 1:
        write_safetensors(folder / "model.safetensors", rows, wrote)
        return
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, start=1):
        name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / name, shard, wrote)
        weight_map |= {row.name: name for row in shard}
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": sum(row.n_bytes for row in rows)}, "weight_map": weight_map},
    )


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _split(rows: Sequence[Row], limit: int) -> list[list[Row]]:
    """Consecutive runs of at most `limit` bytes; a larger tensor stands alone."""
    shards: list[list[Row]] = [[]]
    held = 0
    for row in rows:
        if shards[-1] and held + row.n_bytes > limit:
            shards.append([])
            held = 0
        shards[-1].append(row)
        held += row.n_bytes
    return shards

"""load_weights: a checkpoint as a state dict of one dtype on one device, without ever holding it twice."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mistral7b.checkpoint.folder import Checkpoint, open_source
from mistral7b.checkpoint.source import STORED_DTYPES, TensorSource
from mistral7b.errors import CheckpointError
from mistral7b.quant.formats import PackedFormat, packed_bytes
from mistral7b.quant.matrix import PackedMatrix

Progress = Callable[[int, int], None]
_RANGE = (
    "float16 has a smaller range than the bfloat16 this model was trained in: activations can overflow to inf in deep "
    "layers; use bfloat16 or float32 where the hardware allows"
)
_EMBEDDINGS = "tok_embeddings.weight"


@dataclass(frozen=True)
class Weights:
    """A model's tensors by consolidated name: those in one dtype, and the matrices that stayed packed."""

    plain: dict[str, torch.Tensor]
    packed: dict[str, PackedMatrix]


def load_weights(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """The weights under their consolidated names, in `dtype` (None: as stored) on `device`.

    On the CPU in the stored dtype they are pages of the file; otherwise each tensor is converted and the pages given back
    before the next, so the peak is the weights plus one tensor. `progress` is called with (bytes done, bytes in all) of the
    result, after each tensor. Warns when bfloat16 weights become float16, whose range the model's activations leave.
    Raises CheckpointError: see `open_source`, and for a weight that float16 cannot hold.
    """
    return _load(checkpoint, dtype, torch.device(device), progress, packed=False).plain


def load_packed(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Weights:
    """`load_weights`, but what the file holds packed stays so: matrices of a quantised folder as its pages (on the CPU), Q4_0
    and Q8_0 of a GGUF in a layout that keeps their fp16 scales. The embeddings, which are read row by row, are always plain.
    """
    return _load(checkpoint, dtype, torch.device(device), progress, packed=True)


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The type the model's matrices are stored in; bfloat16, the type it was trained in, for a quantised file."""
    with open_source(checkpoint) as source:
        dtype = source.dtype(_EMBEDDINGS)
    # Less than two bytes a weight: what dequantising gives has no type of its own.
    quantised = checkpoint.format == "gguf" and checkpoint.path.stat().st_size < 1.9 * checkpoint.config.n_params
    return torch.bfloat16 if quantised else dtype


def weights_bytes(checkpoint: Checkpoint, dtype: torch.dtype, *, packed: bool) -> int:
    """What the weights take in memory once they are loaded, `packed` as by `load_packed`. Reads headers only."""
    if not packed:
        return checkpoint.config.n_params * dtype.itemsize
    with open_source(checkpoint) as source:
        formats = _formats(source)
        return sum(_size(source.shape(name), dtype, formats.get(name)) for name in source.names())


def _load(
    checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device, progress: Progress | None, *, packed: bool
) -> Weights:
    assert dtype is None or dtype in STORED_DTYPES, dtype
    with open_source(checkpoint) as source:
        formats = _formats(source) if packed else {}
        stored = {name: source.dtype(name) for name in source.names() if name not in formats}
        shapes = {name: source.shape(name) for name in source.names()}
    wanted = {name: dtype or kept for name, kept in stored.items()}
    if dtype == torch.float16 and torch.bfloat16 in stored.values():
        warnings.warn(_RANGE, stacklevel=3)
    as_it_lies = device.type == "cpu" and wanted == stored
    loaded = Weights({}, {})
    with open_source(checkpoint, mapped=as_it_lies) as source:
        sizes = {name: _size(shape, wanted.get(name, torch.uint8), formats.get(name)) for name, shape in shapes.items()}
        total, done = sum(sizes.values()), 0
        for name in shapes:
            if name in formats:
                loaded.packed[name] = _moved(source.packed(name), device)
            else:
                loaded.plain[name] = source.get(name) if as_it_lies else _converted(source, name, wanted[name], device)
            done += sizes[name]
            if progress is not None:
                progress(done, total)
    return loaded


def _formats(source: TensorSource) -> dict[str, PackedFormat]:
    found = {name: source.packed_format(name) for name in source.names() if name != _EMBEDDINGS}
    return {name: form for name, form in found.items() if form is not None}


def _size(shape: tuple[int, ...], dtype: torch.dtype, form: PackedFormat | None) -> int:
    return math.prod(shape) * dtype.itemsize if form is None else packed_bytes(form, (shape[0], shape[1]))


def _moved(packed: PackedMatrix, device: torch.device) -> PackedMatrix:
    scales = None if packed.scales is None else packed.scales.to(device)
    return PackedMatrix(packed.format, packed.shape, packed.blocks.to(device), scales)


def _converted(source: TensorSource, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    out = torch.empty(source.shape(name), dtype=dtype, device=device)
    source.fill(name, out)
    if dtype == torch.float16 and source.dtype(name) != dtype and not bool(out.isfinite().all()):
        raise CheckpointError(f"{name} holds values that float16 cannot; load this model in bfloat16 or float32")
    return out

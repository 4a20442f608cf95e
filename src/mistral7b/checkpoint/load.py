"""load_weights: a checkpoint as a state dict of one dtype on one device, without ever holding it twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from mistral7b.checkpoint.folder import Checkpoint, open_source
from mistral7b.checkpoint.source import STORED_DTYPES, TensorSource
from mistral7b.errors import CheckpointError

Progress = Callable[[int, int], None]


def load_weights(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """The weights under their consolidated names, in `dtype` (None: as stored) on `device`.

    On the CPU in the stored dtype they are pages of the file; otherwise each tensor is read, converted and dropped before
    the next, so the peak is the weights plus one tensor. `progress` is called with (bytes done, bytes in all) of the
    result, after each tensor. Warns when bfloat16 weights become float16, whose range the model's activations leave.
    Raises CheckpointError: see `open_source`, and for a weight that float16 cannot hold.
    """
    assert dtype is None or dtype in STORED_DTYPES, dtype
    device = torch.device(device)
    with open_source(checkpoint) as source:
        stored = {source.dtype(name) for name in source.names()}
        if device.type == "cpu" and stored <= {dtype or next(iter(stored))}:
            return _collect(source, dtype, device, progress, as_they_are=True)
    if dtype == torch.float16 and torch.bfloat16 in stored:
        warnings.warn(
            "float16 has a smaller range than the bfloat16 this model was trained in: activations can overflow to inf "
            "in deep layers; use bfloat16 or float32 where the hardware allows",
            stacklevel=2,
        )
    with open_source(checkpoint, mapped=False) as source:
        return _collect(source, dtype, device, progress, as_they_are=False)


def _collect(
    source: TensorSource, dtype: torch.dtype | None, device: torch.device, progress: Progress | None, *, as_they_are: bool
) -> dict[str, torch.Tensor]:
    names = source.names()
    sizes = {name: _nbytes(source, name, dtype) for name in names}
    total, done = sum(sizes.values()), 0
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        weights[name] = source.get(name) if as_they_are else _converted(source, name, dtype, device)
        done += sizes[name]
        if progress is not None:
            progress(done, total)
    return weights


def _nbytes(source: TensorSource, name: str, dtype: torch.dtype | None) -> int:
    return torch.Size(source.shape(name)).numel() * (dtype or source.dtype(name)).itemsize


def _converted(source: TensorSource, name: str, dtype: torch.dtype | None, device: torch.device) -> torch.Tensor:
    stored = source.dtype(name)
    # The result is allocated before the tensor is read: freed below it, the tensor would leave a hole in the heap that
    # malloc cannot use for the next aligned tensor, and memory would rise by half as much again.
    out = torch.empty(source.shape(name), dtype=dtype or stored, device=device)
    out.copy_(source.get(name))
    if out.dtype == torch.float16 and stored != torch.float16 and not bool(out.isfinite().all()):
        raise CheckpointError(f"{name} holds values that float16 cannot; load this model in bfloat16 or float32")
    return out

"""load_weights: a checkpoint as a state dict of one dtype on one device, without ever holding it twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from mistral7b.checkpoint.folder import Checkpoint, open_source
from mistral7b.checkpoint.source import STORED_DTYPES, TensorSource
from mistral7b.errors import CheckpointError

Progress = Callable[[int, int], None]
_RANGE = (
    "float16 has a smaller range than the bfloat16 this model was trained in: activations can overflow to inf in deep "
    "layers; use bfloat16 or float32 where the hardware allows"
)


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
    assert dtype is None or dtype in STORED_DTYPES, dtype
    device = torch.device(device)
    with open_source(checkpoint) as source:
        stored = {name: source.dtype(name) for name in source.names()}
    wanted = {name: dtype or kept for name, kept in stored.items()}
    if dtype == torch.float16 and torch.bfloat16 in stored.values():
        warnings.warn(_RANGE, stacklevel=2)
    as_it_lies = device.type == "cpu" and wanted == stored
    weights: dict[str, torch.Tensor] = {}
    with open_source(checkpoint, mapped=as_it_lies) as source:
        sizes = {name: torch.Size(source.shape(name)).numel() * wanted[name].itemsize for name in wanted}
        total, done = sum(sizes.values()), 0
        for name in wanted:
            weights[name] = source.get(name) if as_it_lies else _converted(source, name, wanted[name], device)
            done += sizes[name]
            if progress is not None:
                progress(done, total)
    return weights


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The type the model's matrices are stored in; bfloat16, the type it was trained in, for a quantised file."""
    with open_source(checkpoint) as source:
        dtype = source.dtype("tok_embeddings.weight")
    # Less than two bytes a weight: what dequantising gives has no type of its own.
    quantised = checkpoint.format == "gguf" and checkpoint.path.stat().st_size < 1.9 * checkpoint.config.n_params
    return torch.bfloat16 if quantised else dtype


def _converted(source: TensorSource, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    out = torch.empty(source.shape(name), dtype=dtype, device=device)
    source.fill(name, out)
    if dtype == torch.float16 and source.dtype(name) != dtype and not bool(out.isfinite().all()):
        raise CheckpointError(f"{name} holds values that float16 cannot; load this model in bfloat16 or float32")
    return out

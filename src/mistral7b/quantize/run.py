"""`quantize`: any checkpoint in, a folder of packed matrices out; one matrix in memory at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.companions import positions_of, write_companions
from mistral7b.checkpoint.configs import HF
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source
from mistral7b.checkpoint.quantized_write import QuantizedWriter, places
from mistral7b.checkpoint.source import TensorSource
from mistral7b.checkpoint.write import write_json
from mistral7b.errors import CheckpointError
from mistral7b.quant.nearest import nearest
from mistral7b.quantize.recipe import Recipe

Progress = Callable[[int, int, str], None]  # (weights done, weights in all, what is worked on)

_HEADERS = 16 << 20  # bytes beside the tensors: headers, configs, a tokenizer


def quantize(
    source_path: Path, target: Path, recipe: Recipe, *, force: bool = False, progress: Progress | None = None
) -> list[Path]:
    """Writes the model at `source_path` (a folder, or a .gguf file) as the quantised folder `target`; returns its files.

    Raises the errors of `open_checkpoint` and `open_source`; CheckpointError if `target` stands in the way (`force` replaces
    it), the disk is too small, any write fails (then nothing is left behind), or a weight is not a finite number.
    """
    if target.resolve() in (source_path.resolve(), *source_path.resolve().parents):
        raise CheckpointError(f"{target} is or holds the model to quantise; choose another target")
    checkpoint = open_checkpoint(source_path, force=force)
    formats = recipe.formats(checkpoint.config)
    needs = _HEADERS + sum(place.n_bytes for place in places(checkpoint.config, formats))
    with open_source(checkpoint, mapped=False) as source, aside(target, needs=needs, folder=True, force=force) as made:
        _write_configs(made, checkpoint, recipe)
        with QuantizedWriter(made, checkpoint.config, formats) as writer:
            done, total = 0, checkpoint.config.n_params
            for name in source.names():
                if progress is not None:
                    progress(done, total, name)
                weight = read_finite(source, name)
                writer.put(name, nearest(weight, formats[name]) if name in formats else weight)
                done += weight.numel()
    return sorted(target.iterdir())


def read_finite(source: TensorSource, name: str) -> torch.Tensor:
    """The tensor in its stored type; raises CheckpointError if it holds NaN or Inf, which no rounding can mend."""
    weight = source.get(name)
    # The largest magnitude is not finite if any is not; no mask of a whole matrix is made.
    if not bool(torch.stack(weight.aminmax()).isfinite().all()):
        raise CheckpointError(f"{name} holds weights that are not finite; look for damage with mistral7b verify")
    return weight


def _write_configs(made: Path, checkpoint: Checkpoint, recipe: Recipe) -> None:
    positions = positions_of(checkpoint)
    write_json(
        made / HF, checkpoint.config.to_hf(max_position_embeddings=positions, dtype="bfloat16", eos_ids=checkpoint.eos_ids)
    )
    write_companions(made, checkpoint, quantization={"layers": recipe.layers, "head": recipe.head})

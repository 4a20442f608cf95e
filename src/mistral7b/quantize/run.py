"""`quantize`: any checkpoint in, a folder of packed matrices out; one matrix in memory at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.companions import Changed, positions_of, write_companions
from mistral7b.checkpoint.configs import HF
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source
from mistral7b.checkpoint.quantized_write import QuantizedWriter, places
from mistral7b.checkpoint.source import TensorSource
from mistral7b.checkpoint.write import write_json
from mistral7b.errors import CheckpointError
from mistral7b.quant.nearest import nearest
from mistral7b.quantize.calibrate import Made, calibrated
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.texts import batches

Progress = Callable[[int, int, str], None]  # (weights done, weights in all, what is worked on)

_HEADERS = 16 << 20  # bytes beside the tensors: headers, configs, a tokenizer


def quantize(
    source_path: Path,
    target: Path,
    recipe: Recipe,
    *,
    calibration: Sequence[Sequence[int]] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes the model at `source_path` (a folder, or a .gguf file) as the quantised folder `target`; returns its files.

    With a `calibration`, sequences of token ids, matrices are rounded by GPTQ, else each weight to the nearest level.
    Raises the errors of `open_checkpoint` and `open_source`; CheckpointError if `target` stands in the way (`force` replaces
    it), the disk is too small, any write fails (then nothing is left behind), or a weight is not a finite number;
    NumericError if an activation is not.
    """
    if target.resolve() in (source_path.resolve(), *source_path.resolve().parents):
        raise CheckpointError(f"{target} is or holds the model to quantise; choose another target")
    checkpoint = open_checkpoint(source_path, force=force)
    config, formats = checkpoint.config, recipe.formats(checkpoint.config)
    needs = _HEADERS + sum(place.n_bytes for place in places(config, formats))
    with open_source(checkpoint, mapped=False) as source, aside(target, needs=needs, folder=True, force=force) as made:
        _write_configs(made, checkpoint, recipe, calibration)
        meter = _Meter(config.n_params, progress)
        if calibration:
            tensors = calibrated(source, config, formats, batches(calibration), meter.read)
        else:
            tensors = _nearest(source, recipe, checkpoint, meter)
        with QuantizedWriter(made, config, formats) as writer:
            for name, tensor in tensors:
                writer.put(name, tensor)
    return sorted(target.iterdir())


def _nearest(source: TensorSource, recipe: Recipe, checkpoint: Checkpoint, meter: _Meter) -> Iterator[Made]:
    formats = recipe.formats(checkpoint.config)
    for name in source.names():
        weight = meter.read(source, name)
        yield name, nearest(weight, formats[name]) if name in formats else weight


class _Meter:
    """Reads tensors and tells how far that has come."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def read(self, source: TensorSource, name: str) -> torch.Tensor:
        """The tensor in its stored type; raises CheckpointError if it holds NaN or Inf, which no rounding can mend."""
        if self._progress is not None:
            self._progress(self._done, self._total, name.removesuffix(".weight"))
        weight = source.get(name)
        # Least and largest are not finite if any weight is not; no mask of a whole matrix is made.
        if not bool(torch.stack(weight.aminmax()).isfinite().all()):
            raise CheckpointError(f"{name} holds weights that are not finite; look for damage with mistral7b verify")
        self._done += weight.numel()
        return weight


def _write_configs(made: Path, checkpoint: Checkpoint, recipe: Recipe, calibration: Sequence[Sequence[int]]) -> None:
    config, positions = checkpoint.config, positions_of(checkpoint)
    write_json(made / HF, config.to_hf(max_position_embeddings=positions, dtype="bfloat16", eos_ids=checkpoint.eos_ids))
    how = {"method": "gptq" if calibration else "nearest", "calibration_tokens": sum(len(ids) for ids in calibration)}
    facts = {"quantization": {"layers": recipe.layers, "head": recipe.head, **how}}
    sentence = f"These weights were quantised to {recipe.layers}; what follows is of the model that they were made from."
    write_companions(made, checkpoint, Changed(facts, sentence), packed=True)

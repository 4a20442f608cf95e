"""`merge`: a model and a LoRA adapter in, a model out; one tensor in memory at a time, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch

from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.adapters import check_apart, read_adapter
from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.companions import Changed, positions_of, write_companions
from mistral7b.checkpoint.configs import HF, own_facts
from mistral7b.checkpoint.convert import HEADERS, Dtype, Progress, Target, check_request, counter, write_model
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source
from mistral7b.checkpoint.formats import Format
from mistral7b.checkpoint.quantized_write import QuantizedWriter, places
from mistral7b.checkpoint.source import ClosesItself, TensorSource
from mistral7b.checkpoint.write import write_json
from mistral7b.quant.formats import PackedFormat
from mistral7b.quant.matrix import PackedMatrix
from mistral7b.quant.shifted import shifted

_TO: dict[Format, Target] = {
    "hf": "hf", "consolidated": "consolidated", "pth": "consolidated", "gguf": "gguf", "quantized": "hf",
}  # fmt: skip


def merge(
    model: Path, adapter: Path, target: Path, *, dtype: Dtype = "keep", force: bool = False, progress: Progress | None = None
) -> list[Path]:
    """Writes `model` (a folder, or a .gguf file) with `adapter` in its weights as `target`; returns the files written.

    W + s B A is computed in fp32 and rounded once. The format stays (a .pth becomes consolidated safetensors), and with "keep"
    the types; a quantised folder stays one, its matrices packed again (see `quant.shifted`), or with another `dtype` becomes an
    HF folder; quantised matrices of a GGUF come out as float32. A folder's card and mistral7b.json tell of
    the adapter. Raises the errors of `convert` and `read_adapter`.
    """
    checkpoint = open_checkpoint(model, force=force)
    to = _TO[checkpoint.format]
    check_request(model, target, to, dtype)
    check_apart(adapter, target)
    added = read_adapter(adapter, checkpoint.config)
    changed = _told(adapter, checkpoint)
    with open_source(checkpoint, mapped=False) as source:
        merged = MergedSource(source, added)
        if checkpoint.format == "quantized" and dtype == "keep":
            return _write_packed(merged, checkpoint, target, changed, force=force, progress=progress)
        return write_model(merged, checkpoint, target, to=to, dtype=dtype, force=force, progress=progress, changed=changed)


class MergedSource(ClosesItself):
    """A TensorSource with an adapter in it: `get` gives what it changes in fp32, whatever type it is stored in."""

    def __init__(self, source: TensorSource, adapter: Adapter) -> None:
        self._source, self._adapter = source, adapter

    def names(self) -> list[str]:
        return self._source.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._source.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        return self._source.dtype(name)

    def get(self, name: str) -> torch.Tensor:
        weight, place = self._source.get(name), name.removesuffix(".weight")
        return torch.addmm(weight.float(), *self._adapter.factors(place)) if place in self._adapter.scales else weight

    def packed_format(self, name: str) -> PackedFormat | None:
        return self._source.packed_format(name)

    def packed(self, name: str) -> PackedMatrix:
        packed, place = self._source.packed(name), name.removesuffix(".weight")
        return shifted(packed, *self._adapter.factors(place)) if place in self._adapter.scales else packed

    def close(self) -> None:
        self._source.close()


def _told(adapter: Path, checkpoint: Checkpoint) -> Changed:
    """The adapter's name, and how it was trained where it tells; after those merged before."""
    folder = adapter.resolve() if adapter.is_dir() else adapter.resolve().parent
    merged = {"adapter": folder.name} | {name: value for name, value in own_facts(folder).items() if name == "training"}
    sentence = f"The adapter {folder.name} is merged into these weights; what follows is of the model that it was merged into."
    return Changed({"merged": [*own_facts(checkpoint.path).get("merged", ()), merged]}, sentence)


def _write_packed(
    source: TensorSource, checkpoint: Checkpoint, target: Path, changed: Changed, *, force: bool, progress: Progress | None
) -> list[Path]:
    config = checkpoint.config
    found = {name: form.name for name in source.names() if (form := source.packed_format(name)) is not None}
    held = places(config, found)
    total = sum(place.n_bytes for place in held)
    with aside(target, needs=total + HEADERS, folder=True, force=force) as made:
        positions = positions_of(checkpoint)
        write_json(made / HF, config.to_hf(max_position_embeddings=positions, dtype="bfloat16", eos_ids=checkpoint.eos_ids))
        write_companions(made, checkpoint, changed, packed=True)
        wrote = counter(total, progress)
        with QuantizedWriter(made, config, found) as writer:
            for name in source.names():
                wrote(writer.put(name, source.packed(name) if name in found else source.get(name)))
    return sorted(target.iterdir())

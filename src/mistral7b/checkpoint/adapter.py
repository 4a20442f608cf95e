"""Adapter: a LoRA in memory, in the names and the row order of consolidated files, whatever layout it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mistral7b.checkpoint.source import STORED_DTYPES, expected_shape
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Adapter:
    """`weights` are "layers.3.attention.wq.lora_A.weight" `[rank, in]` and "....lora_B.weight" `[out, rank]`; `scales` has what
    B A is multiplied by, for each place ("layers.3.attention.wq"). `dropout` is what it was trained with, `base` the name of
    the model it says it is for."""

    config: ModelConfig
    weights: Mapping[str, Tensor]
    scales: Mapping[str, float]
    dropout: float = 0.0
    base: str | None = None

    @property
    def ranks(self) -> dict[str, int]:
        return {place: self.a(place).shape[0] for place in self.scales}

    def a(self, place: str) -> Tensor:
        return self.weights[f"{place}.lora_A.weight"]

    def b(self, place: str) -> Tensor:
        return self.weights[f"{place}.lora_B.weight"]

    def factors(self, place: str) -> tuple[Tensor, Tensor]:
        """(scale times B, A), fp32: their product is what the adapter adds to the matrix."""
        return self.b(place).float() * self.scales[place], self.a(place).float()


def check(config: ModelConfig, weights: Mapping[str, Tensor], ranks: Mapping[str, float]) -> None:
    """Raises CheckpointError, one line, for weights that are no adapter of a model of `config`: pairs of one rank, that of
    `ranks` where it has one, around projections that there are, in a type we read, every number finite."""
    places = sorted({name.rsplit(".lora_", 1)[0] for name in weights})
    if not places:
        raise CheckpointError("the adapter holds no weights; save it again")
    shapes = {place: expected_shape(config, f"{place}.weight") or () for place in places}
    for place, shape in shapes.items():
        if len(shape) != 2 or not place.startswith("layers."):
            raise CheckpointError(f"the adapter changes {place}, which is no projection in a layer of this model")
    for place, shape in shapes.items():
        if missing := [half for half in "AB" if f"{place}.lora_{half}.weight" not in weights]:
            raise CheckpointError(f"the adapter lacks lora_{missing[0]} of {place}; save it again")
        a, b = weights[f"{place}.lora_A.weight"], weights[f"{place}.lora_B.weight"]
        rank = ranks.get(place, a.shape[0])
        for half, tensor, wanted in (("A", a, (rank, shape[1])), ("B", b, (shape[0], rank))):
            name = f"lora_{half} of {place}"
            if tuple(tensor.shape) != wanted:
                raise CheckpointError(f"{name} has shape {list(tensor.shape)} where this model and rank ask for {list(wanted)}")
            if tensor.dtype not in STORED_DTYPES:
                raise CheckpointError(f"{name} is stored as {tensor.dtype}; weights must be bfloat16, float16 or float32")
            if not bool(tensor.isfinite().all()):
                raise CheckpointError(f"{name} holds numbers that are not finite; the training that made it diverged")


def widest(weights: Mapping[str, Tensor]) -> torch.dtype:
    """A type that holds all of them."""
    kinds = {weight.dtype for weight in weights.values()}
    return kinds.pop() if len(kinds) == 1 else torch.float32

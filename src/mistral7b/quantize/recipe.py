"""Which format each matrix gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.errors import RequestError
from mistral7b.quant.formats import FormatName

Layers = Literal["int4", "int8"]
Head = Literal["int4", "int5", "int8", "bf16"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """`layers`: the format of the layers' matrices, `head` that of the output matrix. Embeddings and norms stay bf16."""

    layers: Layers = "int4"
    head: Head = "int5"

    def __post_init__(self) -> None:
        for what, value, known in (("layers", self.layers, get_args(Layers)), ("head", self.head, get_args(Head))):
            if value not in known:
                raise RequestError(f"there is no format {value!r} for the {what}; choose one of {', '.join(known)}")

    def formats(self, config: ModelConfig) -> dict[str, FormatName]:
        """The format of every matrix that is packed."""
        found: dict[str, FormatName] = {}
        for name, shape in expected_shapes(config).items():
            if len(shape) == 1 or name == "tok_embeddings.weight":
                continue
            if name != "output.weight":
                found[name] = self.layers
            elif self.head != "bf16":
                found[name] = self.head
        return found

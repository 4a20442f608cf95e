"""A network of a published shape with made-up weights: as fast as the real one, without a download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.kernels.interface import Kernels
from mistral7b.model.fused import fuse
from mistral7b.model.transformer import Transformer
from mistral7b.quant.formats import FormatName
from mistral7b.quant.linear import insert
from mistral7b.quant.matrix import PackedMatrix
from mistral7b.quant.nearest import nearest
from mistral7b.variants import V01

SHAPES: dict[str, ModelConfig] = {"7b": V01}
FORMATS = ("int4", "int8", "bf16")
_HEAD: dict[str, FormatName] = {"int4": "int5", "int8": "int8"}
_ROWS = 256  # rows that are made up; the others repeat them
_SPREAD = 0.02


def network(shape: str, layers: int, format: str, kernels: Kernels) -> Transformer:
    """`shape` of SHAPES with `layers` layers, its matrices in `format` (the head of int4 in int5), the rest in bf16."""
    return of_config(replace(SHAPES[shape], n_layers=layers), format, kernels)


def of_config(config: ModelConfig, format: str, kernels: Kernels) -> Transformer:
    """The same for any architecture."""
    with torch.device("meta"):
        made = Transformer(config, kernels)
    packed: dict[str, PackedMatrix] = {}
    plain: dict[str, Tensor] = {}
    for name, size in expected_shapes(config).items():
        if len(size) == 1:
            plain[name] = torch.ones(size, dtype=torch.bfloat16)
        elif format == "bf16" or name == "tok_embeddings.weight":
            plain[name] = _rows(size).bfloat16().repeat(-(-size[0] // _ROWS), 1)[: size[0]]
        else:
            packed[name] = _repeated(_HEAD[format] if name == "output.weight" else _layer(format), (size[0], size[1]))
    made.load_state_dict(plain | insert(made, packed, kernels), assign=True)
    made.eval().requires_grad_(False)
    fuse(made)
    return made


def read_bytes(model: Transformer) -> int:
    """Bytes of weights that one decode step reads: all but the embeddings, of which it reads a row."""
    return sum(tensor.nbytes for name, tensor in _tensors(model) if not name.startswith("tok_embeddings"))


def products(config: ModelConfig) -> int:
    """Multiplications and additions of the layers' matrices for one token."""
    return sum(2 * shape[0] * shape[1] for name, shape in expected_shapes(config).items() if len(shape) == 2 and "layers" in name)


def _tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _layer(format: str) -> FormatName:
    return "int4" if format == "int4" else "int8"


def _rows(size: tuple[int, ...]) -> Tensor:
    return torch.randn(_ROWS, size[1], generator=torch.Generator().manual_seed(0)) * _SPREAD


def _repeated(format: FormatName, size: tuple[int, int]) -> PackedMatrix:
    few = nearest(_rows(size), format)
    times = -(-size[0] // _ROWS)
    blocks = few.blocks.repeat(times, 1, 1)[: -(-size[0] // 16)]
    scales = None if few.scales is None else few.scales.repeat(times)[: 16 * len(blocks)]
    return PackedMatrix(format, size, blocks, scales)

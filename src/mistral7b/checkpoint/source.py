"""TensorSource: what every weight format looks like from inside, and the tensors a model must have."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

import torch

from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError
from mistral7b.quant.formats import PackedFormat
from mistral7b.quant.matrix import PackedMatrix

# The types the network computes in; anything else on disk is a quantised file of another program.
STORED_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


class TensorSource(Protocol):
    """Named tensors on disk, under the consolidated names and in the consolidated layout (FACTS 3.4, 3.5).

    `shape` and `dtype` read headers only. `get` returns the tensor in its stored dtype: mapped from disk where the bytes
    there are already in our layout, unless the source was opened with `mapped=False`. `fill` copies it into `out`, of the
    same shape and any dtype and device, and leaves none of the file's pages in this process; it is not for tensors that
    `get` has handed out mapped. Tensors stay valid after `close`. Raises CheckpointError for a name it does not hold.
    """

    def names(self) -> list[str]:
        """The tensors held, in model order."""
        ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dtype(self, name: str) -> torch.dtype: ...

    def get(self, name: str) -> torch.Tensor: ...

    def fill(self, name: str, out: torch.Tensor) -> None: ...

    def packed_format(self, name: str) -> PackedFormat | None:
        """The format of a matrix that `packed` can give; None for all else. Reads headers only."""
        ...

    def packed(self, name: str) -> PackedMatrix:
        """A matrix as it is packed on disk, for a name that has a `packed_format`."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class ClosesItself(ABC):
    """What sources have in common: the context manager, `fill` by way of `get`, and that nothing is packed."""

    @abstractmethod
    def get(self, name: str) -> torch.Tensor: ...

    def fill(self, name: str, out: torch.Tensor) -> None:
        out.copy_(self.get(name))

    def packed_format(self, name: str) -> PackedFormat | None:  # noqa: ARG002
        return None

    def packed(self, name: str) -> PackedMatrix:
        raise AssertionError(f"{name} is not packed")

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network with its shape, in model order (FACTS 3.4); matrices are [out, in].

    7B: 291 tensors, from tok_embeddings.weight (32000, 4096) to output.weight (32000, 4096).
    """
    return dict(_each_shape(config))


def expected_shape(config: ModelConfig, name: str) -> tuple[int, ...] | None:
    """The shape of one tensor of the network; None for a name that it does not have."""
    if match := re.fullmatch(r"layers\.(0|[1-9]\d{0,9})\.(.+)", name, re.ASCII):
        return _layer_shapes(config).get(match[2]) if int(match[1]) < config.n_layers else None
    outer = {"tok_embeddings.weight": (config.vocab_size, config.dim), "norm.weight": (config.dim,)}
    return {**outer, "output.weight": (config.vocab_size, config.dim)}.get(name)


def _layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    dim, hidden = config.dim, config.hidden_dim
    q_rows, kv_rows = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    return {
        "attention_norm.weight": (dim,),
        "attention.wq.weight": (q_rows, dim),
        "attention.wk.weight": (kv_rows, dim),
        "attention.wv.weight": (kv_rows, dim),
        "attention.wo.weight": (dim, q_rows),
        "ffn_norm.weight": (dim,),
        "feed_forward.w1.weight": (hidden, dim),
        "feed_forward.w2.weight": (dim, hidden),
        "feed_forward.w3.weight": (hidden, dim),
    }


def _each_shape(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    layer = _layer_shapes(config)
    yield "tok_embeddings.weight", (config.vocab_size, config.dim)
    for i in range(config.n_layers):
        for name, shape in layer.items():
            yield f"layers.{i}.{name}", shape
    yield "norm.weight", (config.dim,)
    yield "output.weight", (config.vocab_size, config.dim)


def in_model_order(names: Iterable[str]) -> list[str]:
    """`names` as a reader meets them in the model: embeddings, layers by number, final norm, head; strangers last."""
    parts = {"tok_embeddings": 0, "layers": 1, "norm": 2, "output": 3}
    inner = ["attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo", "ffn_norm"]
    inner += [f"feed_forward.w{i}" for i in (1, 2, 3)]

    def key(name: str) -> tuple[int, int, int, str]:
        if match := re.fullmatch(r"layers\.(\d+)\.(.+)\.weight", name, re.ASCII):
            within = inner.index(match[2]) if match[2] in inner else len(inner)
            return 1, int(match[1]), within, name
        return parts.get(name.removesuffix(".weight"), 4), 0, 0, name

    return sorted(names, key=key)


def check(source: TensorSource, config: ModelConfig) -> None:
    """Raises CheckpointError, one line, for the first missing, unexpected, wrongly shaped or wrongly typed tensor."""
    held = set(source.names())
    expected: set[str] = set()
    # One by one, up to the first that is missing: a config may ask for a billion layers.
    for name, shape in _each_shape(config):
        if name not in held:
            raise CheckpointError(f"the weights lack {name}; the download is incomplete, or this is another architecture")
        if (found := source.shape(name)) != shape:
            raise CheckpointError(f"{name} has shape {list(found)} where the config asks for {list(shape)}")
        if (dtype := source.dtype(name)) not in STORED_DTYPES:
            raise CheckpointError(f"{name} is stored as {dtype}; weights must be bfloat16, float16 or float32")
        expected.add(name)
    if strangers := sorted(held - expected):
        raise CheckpointError(f"the weights hold {strangers[0]}, which the config has no place for ({len(strangers)} such)")

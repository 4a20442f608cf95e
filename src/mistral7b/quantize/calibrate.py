"""The walk through the layers: each is rounded with the inputs that the rounded layers before it give.

The states of all calibration rows stand in memory, `[T, dim]` fp32, and beside them one Hessian and one matrix at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mistral7b.checkpoint.source import TensorSource
from mistral7b.config import ModelConfig
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import TokenBatch
from mistral7b.model.transformer import Block, Pass, RMSNorm
from mistral7b.quant.formats import FormatName
from mistral7b.quant.linear import insert
from mistral7b.quant.matrix import PackedMatrix
from mistral7b.quantize.gptq import Hessian, gptq

Read = Callable[[TensorSource, str], Tensor]
Made = tuple[str, Tensor | PackedMatrix]
_CPU = torch.device("cpu")


@torch.no_grad()
def calibrated(
    source: TensorSource, config: ModelConfig, formats: Mapping[str, FormatName], batches: Sequence[TokenBatch], read: Read
) -> Iterator[Made]:
    """Every tensor of the model, by name, the matrices of `formats` packed. `read` gets a tensor of the source.

    Raises NumericError if an activation is not finite, and what `read` raises.
    """
    embeddings = read(source, "tok_embeddings.weight")
    states = [nn.functional.embedding(batch.ids, embeddings).float() for batch in batches]
    yield "tok_embeddings.weight", embeddings
    del embeddings
    kernels = TorchKernels(row_tile=None)
    plans = [Pass.plan(batch, None, config, kernels, _CPU) for batch in batches]
    for index in range(config.n_layers):
        with torch.device("meta"):
            block = Block(config, kernels)
        yield from _Layer(source, formats, read, block, index).quantised(states, plans)
    norm = RMSNorm(config.dim, config.norm_eps, kernels)
    final = read(source, "norm.weight")
    norm.weight = nn.Parameter(final.float())
    yield "norm.weight", final
    yield from _packed(source, formats, read, ["output.weight"], (norm(x) for x in states), config.dim)


@dataclass(frozen=True)
class _Layer:
    """One layer, made as it is walked through: a projection stands in `block` once it is rounded."""

    source: TensorSource
    formats: Mapping[str, FormatName]
    read: Read
    block: Block
    index: int

    def quantised(self, states: list[Tensor], plans: Sequence[Pass]) -> Iterator[Made]:
        """The layer's tensors; `states` are taken through it."""
        block, attention, feed_forward = self.block, self.block.attention, self.block.feed_forward
        yield from self._norm("attention_norm")
        yield from self._matrices(("attention.wq", "attention.wk", "attention.wv"), map(block.attention_norm, states))
        # What wo is about to read: attention with nothing behind it.
        block.set_submodule("attention.wo", _Through())
        heads = [attention(block.attention_norm(x), plan, self.index) for x, plan in zip(states, plans, strict=True)]
        yield from self._matrices(("attention.wo",), heads)
        for x, each in zip(states, heads, strict=True):
            x += attention.wo(each)
        del heads
        yield from self._norm("ffn_norm")
        yield from self._matrices(("feed_forward.w1", "feed_forward.w3"), map(block.ffn_norm, states))
        block.set_submodule("feed_forward.w2", _Through())
        # Three and a half times as wide as a state: computed again below rather than kept.
        yield from self._matrices(("feed_forward.w2",), (feed_forward(block.ffn_norm(x)) for x in states))
        for x in states:
            x += feed_forward(block.ffn_norm(x))

    def _norm(self, place: str) -> Iterator[Made]:
        name = f"layers.{self.index}.{place}.weight"
        weight = self.read(self.source, name)
        norm = self.block.get_submodule(place)
        norm.weight = nn.Parameter(weight.float())
        yield name, weight

    def _matrices(self, places: Sequence[str], inputs: Iterable[Tensor]) -> Iterator[Made]:
        """Rounds matrices that share their inputs and puts them in their places."""
        prefix = f"layers.{self.index}."
        names = [f"{prefix}{place}.weight" for place in places]
        inputs_wide = self.source.shape(names[0])[1]
        for name, made in _packed(self.source, self.formats, self.read, names, inputs, inputs_wide):
            assert isinstance(made, PackedMatrix), f"every matrix of a layer has a format; {name} has none"
            insert(self.block, {name.removeprefix(prefix): made}, self.block.attention.kernels)
            yield name, made


class _Through(nn.Module):
    """In a projection's place: gives what the projection would read."""

    def forward(self, x: Tensor, plan: object = None) -> Tensor:  # noqa: ARG002
        return x


def _packed(
    source: TensorSource, formats: Mapping[str, FormatName], read: Read, names: Sequence[str], inputs: Iterable[Tensor], wide: int
) -> Iterator[Made]:
    if not any(name in formats for name in names):
        yield from ((name, read(source, name)) for name in names)
        return
    hessian = Hessian(wide)
    for x in inputs:
        hessian.add(x)
    factor = hessian.factor()
    for name in names:
        yield name, gptq(read(source, name), formats[name], factor)

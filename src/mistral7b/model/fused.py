"""All layers in one call, for rooms that can: applied to a finished network from outside, with the same bits."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mistral7b.kernels.interface import LowRank, PackedWeight
from mistral7b.kernels.native_room import LayerWeights, NativeKernels
from mistral7b.model.transformer import Block, Layers, Pass, Transformer

if TYPE_CHECKING:
    from mistral7b.kernels import _native


class FusedLayers(Layers):
    """The blocks of the Layers it replaces, with their names. Without a cache, through adapters in training, and where the plan
    does not say which rows go through an adapter, it computes as those do."""

    def __init__(self, blocks: Layers, kernels: NativeKernels) -> None:
        super().__init__(blocks)
        self._kernels = kernels
        self.unbind()

    def unbind(self) -> None:
        """To be told when adapters (see `lora`) are added: the layers are bound anew before they are next run."""
        self._adapted = any(hasattr(module, "lora_A") for module in self.modules())
        self._trained = any(getattr(module, "trained", False) for module in self.modules())
        self.__dict__.pop("_bound", None)

    def forward(self, x: Tensor, plan: Pass) -> Tensor:
        unrouted = self._adapted if plan.adapters is None else plan.adapted and self._trained
        if plan.pool is None or plan.slots is None or x.requires_grad or unrouted or self._bound is None:
            return super().forward(x, plan)
        k, v = plan.pool.layers()
        if not self._kernels.reads(k):
            return super().forward(x, plan)
        layers, adapters = self._bound[1], plan.adapters if plan.adapted else None
        return self._kernels.run_layers(layers, x, plan.cos, plan.sin, plan.slots, k, v, plan.queries, adapters)

    @cached_property
    def _bound(self) -> tuple[list[LayerWeights], list[_native.Layer]] | None:
        """Weights, kept so that their memory outlives the layers bound to them; None where C++ cannot compute with some."""
        weights = [_weights(block, adapted=not self._trained) for block in self if isinstance(block, Block)]
        bound = [layer for each in weights if (layer := self._kernels.bind_layer(each)) is not None]
        return (weights, bound) if len(bound) == len(self) else None


def fuse(model: Transformer) -> None:
    """Let a network whose kernels are native compute all layers at once. Its weights must not be replaced
    afterwards; adapters may be added."""
    if isinstance(model.kernels, NativeKernels):
        model.layers = FusedLayers(model.layers, model.kernels)


def _weights(block: Block, *, adapted: bool) -> LayerWeights:
    a, f = block.attention, block.feed_forward
    modules = (a.wq, a.wk, a.wv, a.wo, f.w1, f.w2, f.w3)
    low_rank = tuple(_low_rank(module) if adapted else None for module in modules)
    matrices = tuple(_weight(module) for module in modules)
    return LayerWeights(matrices, low_rank, block.attention_norm.weight, block.ffn_norm.weight, block.attention_norm.eps)


def _weight(module: nn.Module) -> Tensor | PackedWeight:
    module = getattr(module, "base", module)
    packed: Tensor | PackedWeight = module.packed if hasattr(module, "packed") else module.weight  # type: ignore[assignment]
    return packed


def _low_rank(module: nn.Module) -> LowRank | None:
    stacked = getattr(module, "stacked", None)
    found: LowRank | None = None if stacked is None else stacked()
    return found

"""All layers in one call, for rooms that can: applied to a finished network from outside, with the same bits."""

from __future__ import annotations

from torch import Tensor, nn

from mistral7b.kernels.interface import PackedWeight
from mistral7b.kernels.native_room import LayerWeights, NativeKernels
from mistral7b.model.transformer import Block, Layers, Pass, Transformer


class FusedLayers(Layers):
    """The blocks of the Layers it replaces, with their names. Without a cache, and for a batch with adapters, it computes as
    those do. `adapted`: whether the network has an adapter (see `lora`)."""

    def __init__(self, blocks: Layers, kernels: NativeKernels) -> None:
        super().__init__(blocks)
        self._kernels = kernels
        # Kept, so that the memory behind the bound layers lives as long as they.
        self._weights = [_weights(block) for block in blocks if isinstance(block, Block)]
        bound = [kernels.bind_layer(weights) for weights in self._weights]
        found = [layer for layer in bound if layer is not None]
        self._bound = found if len(found) == len(blocks) else None
        self.adapted = any(hasattr(module, "lora_A") for module in blocks.modules())

    def forward(self, x: Tensor, plan: Pass) -> Tensor:
        adapted = self.adapted if plan.adapters is None else plan.adapted
        if plan.pool is None or plan.slots is None or self._bound is None or x.requires_grad or adapted:
            return super().forward(x, plan)
        k, v = plan.pool.layers()
        if not self._kernels.reads(k):
            return super().forward(x, plan)
        return self._kernels.run_layers(self._bound, x, plan.cos, plan.sin, plan.slots, k, v, plan.queries)


def fuse(model: Transformer) -> None:
    """Let a network whose kernels are native compute all layers at once. Its weights must not be replaced
    afterwards; adapters may be added."""
    if isinstance(model.kernels, NativeKernels):
        model.layers = FusedLayers(model.layers, model.kernels)


def _weights(block: Block) -> LayerWeights:
    a, f = block.attention, block.feed_forward
    return LayerWeights(
        tuple(_weight(module) for module in (a.wq, a.wk, a.wv, a.wo, f.w1, f.w2, f.w3)), block.attention_norm.weight,
        block.ffn_norm.weight, block.attention_norm.eps,
    )  # fmt: skip


def _weight(module: nn.Module) -> Tensor | PackedWeight:
    module = getattr(module, "base", module)
    packed: Tensor | PackedWeight = module.packed if hasattr(module, "packed") else module.weight  # type: ignore[assignment]
    return packed

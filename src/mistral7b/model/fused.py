"""Whole layers in one call, for rooms that can: applied to a finished network from outside, with the same bits."""

from __future__ import annotations

from torch import Tensor, nn

from mistral7b.kernels.interface import PackedWeight
from mistral7b.kernels.native_room import LayerWeights, NativeKernels
from mistral7b.model.transformer import Block, Pass, Transformer


class FusedBlock(nn.Module):
    """A Block with the modules, and the names, of the one it replaces. Without a cache it computes as that does."""

    def __init__(self, block: Block, kernels: NativeKernels) -> None:
        super().__init__()
        self.attention, self.feed_forward = block.attention, block.feed_forward
        self.attention_norm, self.ffn_norm = block.attention_norm, block.ffn_norm
        self._kernels = kernels
        a, f = block.attention, block.feed_forward
        # Kept, so that the memory behind the bound layer lives as long as it.
        self._weights = LayerWeights(
            tuple(_weight(module) for module in (a.wq, a.wk, a.wv, a.wo, f.w1, f.w2, f.w3)), block.attention_norm.weight,
            block.ffn_norm.weight, block.attention_norm.eps,
        )  # fmt: skip
        self._layer = kernels.bind_layer(self._weights)

    def forward(self, x: Tensor, plan: Pass, layer: int) -> Tensor:
        if plan.pool is None or plan.slots is None or self._layer is None or x.requires_grad:
            return Block.forward(self, x, plan, layer)  # type: ignore[arg-type]
        k, v = plan.pool.layer(layer)
        if not self._kernels.reads(k):
            return Block.forward(self, x, plan, layer)  # type: ignore[arg-type]
        return self._kernels.run_layer(self._layer, x, plan.cos, plan.sin, plan.slots, k, v, plan.queries)


def fuse(model: Transformer) -> None:
    """Let a network whose kernels are native compute whole layers at once. Its weights must not be replaced afterwards."""
    if isinstance(model.kernels, NativeKernels):
        for index, block in enumerate(model.layers):
            assert isinstance(block, Block)
            model.layers[index] = FusedBlock(block, model.kernels)


def _weight(module: nn.Module) -> Tensor | PackedWeight:
    packed: Tensor | PackedWeight = module.packed if hasattr(module, "packed") else module.weight  # type: ignore[assignment]
    return packed

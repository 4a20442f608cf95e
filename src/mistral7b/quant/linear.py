"""QuantLinear: a projection whose weights stay packed. It takes a Linear's place in a finished network, from outside."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mistral7b.kernels.interface import Kernels
from mistral7b.quant.matrix import PackedMatrix


class QuantLinear(nn.Module):
    """A bias-free projection by a packed matrix `[out, in]`."""

    blocks: Tensor
    scales: Tensor | None

    def __init__(self, packed: PackedMatrix, kernels: Kernels) -> None:
        super().__init__()
        self.format, self.shape = packed.format, packed.shape
        self.register_buffer("blocks", packed.blocks)
        self.register_buffer("scales", packed.scales)
        self.kernels = kernels

    @property
    def packed(self) -> PackedMatrix:
        return PackedMatrix(self.format, self.shape, self.blocks, self.scales)

    def forward(self, x: Tensor, plan: object = None) -> Tensor:  # noqa: ARG002  (a Linear's signature)
        return self.kernels.packed_linear(x, self.packed)


def insert(network: nn.Module, weights: Mapping[str, PackedMatrix], kernels: Kernels) -> dict[str, Tensor]:
    """Puts a QuantLinear where each named weight ("layers.3.attention.wq.weight") stood; returns their part of the state dict.

    What stood there may be on the meta device.
    """
    state: dict[str, Tensor] = {}
    for name, packed in weights.items():
        place = name.removesuffix(".weight")
        module = QuantLinear(packed, kernels)
        network.set_submodule(place, module)
        state |= {f"{place}.{key}": value for key, value in module.state_dict().items()}
    return state

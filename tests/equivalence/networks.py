"""Small networks with random weights, and random token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from mistral7b.config import ModelConfig
from mistral7b.kernels.interface import Kernels
from mistral7b.kernels.native_room import NativeKernels, best_instruction_set
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.transformer import Transformer

SMALL = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=48, n_heads=4, n_kv_heads=2, norm_eps=1e-5,
    vocab_size=64, rope_theta=10_000.0, sliding_window=8,
)  # fmt: skip


# The rooms that a promise about bits is kept in; the native one only where it was built.
ROOMS = ["torch", *(["native"] if best_instruction_set() else [])]


@cache
def room(name: str) -> Kernels:
    """A room by its name in ROOMS."""
    return NativeKernels(2) if name == "native" else TorchKernels()


def small(**changes: object) -> ModelConfig:
    """SMALL with some fields changed."""
    return replace(SMALL, **changes)  # type: ignore[arg-type]


def network(
    config: ModelConfig,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    std: float = 0.2,
    kernels: Kernels | None = None,
) -> Transformer:
    """A network whose attention is sharp enough that a key too many, or too few, shows in every logit."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        made = Transformer(config, kernels)
    drawn = {
        name: (torch.randn(like.shape, generator=generator) * std + ("norm" in name)).to(dtype)
        for name, like in made.state_dict().items()
    }
    made.load_state_dict(drawn, assign=True)
    return made.requires_grad_(False).eval()


def weights(model: Transformer) -> Mapping[str, Tensor]:
    """The state dict, under the consolidated names."""
    found: Mapping[str, Tensor] = model.state_dict()
    return found


def random_ids(length: int, *, vocab: int = SMALL.vocab_size, seed: int = 0) -> list[int]:
    """`length` token ids below `vocab`."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = torch.randint(0, vocab, (length,), generator=generator).tolist()
    return ids

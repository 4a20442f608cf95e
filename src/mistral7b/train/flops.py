"""Arithmetic of a training step, for MFU: what the model's mathematics asks for, not what recomputation adds."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig

# Dense bf16 products a second, from the makers' data sheets.
PEAKS = {"h200": 989e12, "h100": 989e12, "a100": 312e12, "l40s": 362e12, "l4": 121e12, "a10": 125e12, "rtx 4090": 165e12}


def head_flops(config: ModelConfig) -> int:
    """Floating-point operations of one token in the head, forward and backward: 6 a weight."""
    return 6 * config.vocab_size * config.dim


def matrix_flops(config: ModelConfig) -> int:
    """The same in all matrices; the embeddings, which are as large as the head, are looked up."""
    matrices = sum(shape[0] * shape[1] for name, shape in expected_shapes(config).items() if len(shape) == 2)
    return 6 * matrices - head_flops(config)


def attention_flops(config: ModelConfig, keys: float) -> float:
    """The same of one token that sees so many keys: two products a layer, forward and twice backward."""
    return 12.0 * config.n_layers * config.n_heads * config.head_dim * keys


def batch_flops(config: ModelConfig, positions: Tensor, targets: Tensor) -> float:
    """The same of a batch, by the keys that its tokens see; only those with a target go through the head."""
    seen = positions + 1
    if config.sliding_window is not None:
        seen = seen.clamp(max=config.sliding_window)
    idle = int((targets < 0).sum())
    return len(positions) * matrix_flops(config) - idle * head_flops(config) + attention_flops(config, float(seen.sum()))


def peak_flops(device: torch.device) -> float | None:
    """What the device can do: a data sheet's figure, or for a CPU a fp32 product timed here; None for an unknown GPU."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device).lower()
        return next((peak for known, peak in PEAKS.items() if known in name), None)
    if device.type != "cpu":
        return None
    a = torch.ones(1024, 1024)
    best = 0.0
    for _ in range(24):  # beside other work few of them have the cores to themselves
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best

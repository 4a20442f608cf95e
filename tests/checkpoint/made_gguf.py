"""GGUF files as llama.cpp's converter writes them, made with the library's writer and not with ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from mistral7b.checkpoint.gguf import to_gguf_name
from mistral7b.config import ModelConfig
from tests.checkpoint import made

BIG_ROWS = replace(made.SMALL, dim=256, head_dim=64, hidden_dim=256)  # k-quants come in blocks of 256
Type = gguf.GGMLQuantizationType


def metadata(config: ModelConfig = made.SMALL) -> dict[str, Any]:
    """The keys of a v0.1 conversion of autumn 2023: no window, no key length, no vocabulary."""
    return {
        "llama.context_length": 512,
        "llama.embedding_length": config.dim,
        "llama.block_count": config.n_layers,
        "llama.feed_forward_length": config.hidden_dim,
        "llama.rope.dimension_count": config.head_dim,
        "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "llama.rope.freq_base": float(config.rope_theta),
    }


def write(path: Path, tensors: dict[str, np.ndarray[Any, Any] | torch.Tensor], keys: dict[str, Any], *, arch: str = "llama",
          kinds: dict[str, Type] | None = None) -> Path:  # fmt: skip
    """`tensors` by GGUF name; a torch tensor is BF16, an array of bytes is of the type in `kinds`."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case list():
                writer.add_array(key, value)
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor):
            writer.add_tensor(name, tensor.view(torch.int16).numpy().view(np.uint8), raw_dtype=Type.BF16)
        else:
            writer.add_tensor(name, tensor, raw_dtype=(kinds or {}).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small(path: Path, keys: dict[str, Any] | None = None, **options: Any) -> Path:
    """made.weights() in BF16 with F32 norms."""
    tensors = {
        to_gguf_name(name): tensor.float().numpy() if tensor.dim() == 1 else tensor for name, tensor in made.weights().items()
    }
    return write(path, tensors, metadata() if keys is None else keys, **options)

"""Small random checkpoints in every folder layout, for the tests of this room."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.hf import heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.model.lora import LoraSpec, new_adapter_weight

SMALL = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=48, n_heads=4, n_kv_heads=2, norm_eps=1e-5,
    vocab_size=64, rope_theta=10_000.0, sliding_window=16,
)  # fmt: skip

Weights = dict[str, torch.Tensor]


def weights(config: ModelConfig = SMALL, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Weights:
    """Random weights of a sane scale, under the consolidated names."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(shape, generator=generator) * 0.05 + ("norm" in name)).to(dtype)
        for name, shape in expected_shapes(config).items()
    }


def adapter(config: ModelConfig, spec: LoraSpec, *, seed: int, strength: float) -> Adapter:
    """A random adapter; the larger its `strength`, the more it changes."""
    shapes, places, found = expected_shapes(config), spec.places(config.n_layers), Weights()
    for place in places:
        outputs, inputs = shapes[f"{place}.weight"]
        found[f"{place}.lora_A.weight"] = new_adapter_weight(f"{place}.lora_A.weight", (spec.rank, inputs), seed)
        generator = torch.Generator().manual_seed(seed)
        found[f"{place}.lora_B.weight"] = torch.randn(outputs, spec.rank, generator=generator) * strength
    return Adapter(config, found, dict.fromkeys(places, spec.scale))


def in_hf(made: Weights, config: ModelConfig = SMALL) -> Weights:
    """The same weights under HF's names and row order."""
    out = {}
    for name, tensor in made.items():
        heads = heads_permuted(name, config)
        out[hf_name(name)] = tensor if heads is None else to_half_split(tensor, heads)
    return out


def write_params(folder: Path, config: ModelConfig = SMALL, **changes: object) -> None:
    (folder / "params.json").write_text(json.dumps(config.to_params() | changes))


def write_config(folder: Path, config: ModelConfig = SMALL, **changes: object) -> None:
    hf = config.to_hf(max_position_embeddings=512, dtype="bfloat16")
    (folder / "config.json").write_text(json.dumps(hf | changes))


def consolidated(folder: Path, made: Weights, config: ModelConfig = SMALL) -> Path:
    write_params(folder, config)
    save_file(made, folder / "consolidated.safetensors")
    return folder


def pth(folder: Path, made: Weights, config: ModelConfig = SMALL) -> Path:
    write_params(folder, config)
    torch.save(made, folder / "consolidated.00.pth")
    return folder


def hf(folder: Path, made: Weights, config: ModelConfig = SMALL) -> Path:
    write_config(folder, config)
    save_file(in_hf(made, config), folder / "model.safetensors")
    return folder


def hf_sharded(folder: Path, made: Weights, config: ModelConfig = SMALL, shards: int = 3) -> Path:
    write_config(folder, config)
    theirs = in_hf(made, config)
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    placed = {name: names[i % shards] for i, name in enumerate(theirs)}
    for file in names:
        save_file({name: theirs[name] for name in theirs if placed[name] == file}, folder / file)
    write_index(folder, placed)
    return folder


def write_index(folder: Path, placed: dict[str, str]) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def read_index(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return found


def like_7b(**changes: object) -> ModelConfig:
    """The 7B of v0.1 with some fields changed."""
    from mistral7b.variants import V01

    return replace(V01, **changes)  # type: ignore[arg-type]

"""HfSource: model.safetensors, whole or in shards, under Hugging Face's names and row order, read as consolidated."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from mistral7b.checkpoint.layouts import to_pairs
from mistral7b.checkpoint.residency import drop_pages
from mistral7b.checkpoint.shards import Shards
from mistral7b.checkpoint.source import ClosesItself, in_model_order
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_OUTER = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
_OUTER_BACK = {hf: ours for ours, hf in _OUTER.items()}
_INNER_BACK = {hf: ours for ours, hf in _INNER.items()}
# Frequencies that early versions of transformers saved; they follow from the config.
_BUFFERS = r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"


def hf_name(name: str) -> str:
    """The HF name of a consolidated one (FACTS 3.4): "layers.3.attention.wq.weight" -> "model.layers.3.self_attn.q_proj.weight".

    Raises CheckpointError for a name that no Mistral 7B tensor has.
    """
    if name in _OUTER:
        return _OUTER[name]
    match = re.fullmatch(r"layers\.(0|[1-9]\d*)\.(.+)\.weight", name, re.ASCII)
    if not match or match[2] not in _INNER:
        raise CheckpointError(f"{name} is no tensor of a Mistral 7B")
    return f"model.layers.{match[1]}.{_INNER[match[2]]}.weight"


def consolidated_name(name: str) -> str:
    """The inverse of `hf_name`; raises CheckpointError alike."""
    if name in _OUTER_BACK:
        return _OUTER_BACK[name]
    match = re.fullmatch(r"model\.layers\.(0|[1-9]\d*)\.(.+)\.weight", name, re.ASCII)
    if not match or match[2] not in _INNER_BACK:
        raise CheckpointError(f"the weights hold {name}, which a Mistral 7B does not have")
    return f"layers.{match[1]}.{_INNER_BACK[match[2]]}.weight"


def heads_permuted(name: str, config: ModelConfig) -> int | None:
    """How many heads the rows of a consolidated tensor are permuted in on the way to HF; None if they are not."""
    if name.endswith(".attention.wq.weight"):
        return config.n_heads
    return config.n_kv_heads if name.endswith(".attention.wk.weight") else None


class HfSource(ClosesItself):
    """A TensorSource over a folder of HF safetensors: wq and wk are reordered on reading, the rest is mapped.

    Raises CheckpointError: see Shards, and for a name that no Mistral 7B has.
    """

    def __init__(self, folder: Path, config: ModelConfig, *, mapped: bool = True) -> None:
        if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
            raise CheckpointError(f"{folder} has neither {SINGLE} nor {INDEX}; {_advice(folder)}")
        self._config = config
        self._mapped = mapped
        self._shards = Shards(folder, single=SINGLE, index=INDEX, ignored=_BUFFERS)
        self._hf_names = {consolidated_name(name): name for name in self._shards.names()}

    def names(self) -> list[str]:
        return in_model_order(self._hf_names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shards.shape(self._hf(name))

    def dtype(self, name: str) -> torch.dtype:
        return self._shards.dtype(self._hf(name))

    def get(self, name: str) -> torch.Tensor:
        if self._mapped and heads_permuted(name, self._config) is None:
            return self._shards.get(self._hf(name))
        out = torch.empty(self.shape(name), dtype=self.dtype(name))
        self.fill(name, out)
        return out

    def fill(self, name: str, out: torch.Tensor) -> None:
        mapped = self._shards.get(self._hf(name))
        heads = heads_permuted(name, self._config)
        if heads is None:
            out.copy_(mapped)
        else:
            to_pairs(mapped, heads, out=out)
        drop_pages(mapped)

    def close(self) -> None:
        self._shards.close()

    def _hf(self, name: str) -> str:
        return self._hf_names.get(name) or hf_name(name)


def _advice(folder: Path) -> str:
    if any(folder.glob("pytorch_model*.bin")):
        return "pytorch_model.bin is a pickle and is not opened: fetch the safetensors files of this model instead"
    return "a Hugging Face model folder has one of them beside config.json"

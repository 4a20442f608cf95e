"""The architecture a GGUF header states: ModelConfig out of `llama.*` metadata, and what had to be inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mistral7b.checkpoint.gguf_header import GgufHeader
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError, ConfigError
from mistral7b.variants import V01, V03

ARCHITECTURE = "llama"  # the name llama.cpp files Mistral 7B under
TRAINED_CONTEXT = "mistral7b.trained_context"  # our own key: what mistral7b.json holds in a folder
_DEFAULT_THETA = 10_000.0  # GGUF's meaning of an absent rope.freq_base (llama.cpp, rope_freq_base_train)

# `llama.` keys that say nothing the tensors' shapes and the keys below do not say, or nothing about the network at all.
_INERT = {"context_length", "vocab_size", "tensor_data_layout"}
_READ = {
    "block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
    "rope.dimension_count", "rope.freq_base",
}  # fmt: skip
# Keys that would change the network, with the only values under which they do not.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "rope.scaling.type": ("none",),
    "rope.scaling.factor": (0.0, 1.0),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scale_linear": (1.0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "use_parallel_residual": (False,),
}


@dataclass(frozen=True, slots=True)
class GgufConfig:
    """`config` as read, the two contexts in tokens where the file states them, and `notes` on what was inferred."""

    config: ModelConfig
    context_length: int | None
    trained_context: int | None
    notes: tuple[str, ...]


def read_config(header: GgufHeader) -> GgufConfig:
    """The architecture in `header`.

    Raises CheckpointError for another architecture or tied embeddings, ConfigError for a key that is missing, malformed,
    or would make a network this package does not compute. A float32 such as 9.99999975e-06 is read as the shortest
    decimal that it stands for, 1e-05, so that configs compare equal across formats.
    """
    architecture = header.fields.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise CheckpointError(f"GGUF of another architecture {architecture!r}; Mistral 7B is filed under {ARCHITECTURE!r}")
    if header.fields.get("split.count", 1) not in (0, 1):
        raise CheckpointError("one part of a split GGUF; join the parts first (llama-gguf-split --merge)")
    prefix = ARCHITECTURE + "."
    keys = {key.removeprefix(prefix): value for key, value in header.fields.items() if key.startswith(prefix)}
    _refuse_strange(keys)
    notes: list[str] = []
    config = _config(keys, _vocab_size(header), notes)
    if config.sliding_window is None and _is_windowless_v01(config):
        config = replace(config, sliding_window=V01.sliding_window)
        notes.append(f"window {V01.sliding_window:,} inferred: all else is v0.1, whose GGUF files carry no window key")
    return GgufConfig(
        config=config,
        context_length=_integer(keys.get("context_length", 0), "context_length") or None,
        trained_context=_integer(header.fields.get(TRAINED_CONTEXT, 0), TRAINED_CONTEXT) or None,
        notes=tuple(notes),
    )


def _config(keys: Mapping[str, Any], vocab_size: int, notes: list[str]) -> ModelConfig:
    dim, n_heads = _required(keys, "embedding_length"), _required(keys, "attention.head_count")
    head_dim = _integer(keys.get("attention.key_length", dim // max(n_heads, 1)), "attention.key_length")
    for key in ("attention.value_length", "rope.dimension_count"):
        if key in keys and keys[key] != head_dim:
            raise ConfigError(f"GGUF sets llama.{key} to {keys[key]!r} beside heads of {head_dim}; Mistral 7B has one head size")
    if "rope.freq_base" not in keys:
        notes.append(f"rope_theta {_DEFAULT_THETA:g}: the file states none, and that is what GGUF means by it")
    # llama.cpp writes 0 for "no window" in some files.
    window = _integer(keys.get("attention.sliding_window", 0), "attention.sliding_window") or None
    return ModelConfig(
        dim=dim,
        n_layers=_required(keys, "block_count"),
        head_dim=head_dim,
        hidden_dim=_required(keys, "feed_forward_length"),
        n_heads=n_heads,
        n_kv_heads=_integer(keys.get("attention.head_count_kv", n_heads), "attention.head_count_kv"),
        norm_eps=_decimal(_present(keys, "attention.layer_norm_rms_epsilon"), "attention.layer_norm_rms_epsilon"),
        vocab_size=vocab_size,
        rope_theta=_decimal(keys.get("rope.freq_base", _DEFAULT_THETA), "rope.freq_base"),
        sliding_window=window,
    )


def _is_windowless_v01(config: ModelConfig) -> bool:
    """v0.1 but for the window; fine-tunes add tokens, but a vocabulary of v0.3 is no extension of v0.1's."""
    alike = replace(config, sliding_window=V01.sliding_window, vocab_size=V01.vocab_size) == V01
    return alike and config.vocab_size != V03.vocab_size


def _refuse_strange(keys: Mapping[str, Any]) -> None:
    for key, value in keys.items():
        if key in _NEUTRAL:
            if value not in _NEUTRAL[key]:
                raise ConfigError(f"GGUF sets llama.{key} to {value!r}, which Mistral 7B does not have")
        elif key not in _READ and key not in _INERT:
            raise ConfigError(f"GGUF has an unknown key 'llama.{key}' that could change the network; this is no Mistral 7B")


def _vocab_size(header: GgufHeader) -> int:
    """Rows of the embedding, which the head and a stated vocab_size must share."""
    embedding, head = (header.tensors.get(name) for name in ("token_embd.weight", "output.weight"))
    if embedding is None:
        raise CheckpointError("the GGUF file holds no token_embd.weight; it is incomplete or not a language model")
    if head is None:
        raise CheckpointError("the GGUF file holds no output.weight: its head is tied to the embedding, Mistral 7B's is not")
    stated = header.fields.get("llama.vocab_size", embedding.shape[0])
    if stated != embedding.shape[0]:
        raise ConfigError(f"GGUF states a vocabulary of {stated!r} beside an embedding of {embedding.shape[0]:,} rows")
    return embedding.shape[0]


def _present(keys: Mapping[str, Any], key: str) -> Any:
    if key not in keys:
        raise ConfigError(f"GGUF lacks llama.{key}, without which no network can be built")
    return keys[key]


def _required(keys: Mapping[str, Any], key: str) -> int:
    return _integer(_present(keys, key), key)


def _integer(value: Any, key: str) -> int:
    """An integer, or a list of one per layer that are all the same (llama.cpp writes either)."""
    if isinstance(value, list) and value and all(item == value[0] for item in value):
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"GGUF: {key} must be one integer, not {value!r:.60}")
    return value


def _decimal(value: Any, key: str) -> float:
    if not isinstance(value, float):
        raise ConfigError(f"GGUF: llama.{key} must be a number, not {value!r:.60}")
    return float(str(np.float32(value)))

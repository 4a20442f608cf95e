"""Fingerprint: which model a cache belongs to, told in a tenth of a second."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.checkpoint.write import raw_bytes
from mistral7b.config import ModelConfig, from_params, said
from mistral7b.errors import ConfigError
from mistral7b.model.lora import adapter_scales, adapter_weights
from mistral7b.model.transformer import Transformer
from mistral7b.tokens.tokenizer import Tokenizer

_ROWS = 4  # of each matrix: 9 MB of the 7B
_FORMS = {"weights": "[0-9a-f]{64}", "tokenizer": "v[123] [0-9a-f]{64}", "kv_dtype": "float32|float16|bfloat16|int8"}


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """`weights` and `tokenizer` are sha256, `kv_dtype` the type of the cache, "bfloat16"; `name`, for people, is not compared."""

    config: ModelConfig
    weights: str
    tokenizer: str
    kv_dtype: str
    name: str = field(default="a model", compare=False)

    @classmethod
    def of(
        cls, model: Transformer, tokenizer: Tokenizer, kv_dtype: torch.dtype, name: str, adapter: int | None = None
    ) -> Fingerprint:
        """That of a loaded network alone, or with one of its adapters. Raises OSError if the tokenizer's file has gone."""
        return cls(
            config=model.config,
            weights=weights_digest(_weights(model, adapter)),
            tokenizer=f"{tokenizer.version} {sha256_of(tokenizer.path)}",
            kv_dtype=str(kv_dtype).removeprefix("torch."),
            name=name,
        )

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "name": self.name,
            "config": self.config.to_params(),
            "weights": self.weights,
            "tokenizer": self.tokenizer,
            "kv_dtype": self.kv_dtype,
        }

    @classmethod
    def from_json(cls, held: object) -> Fingerprint:
        """Raises ConfigError for anything but what `to_json` makes."""
        if not isinstance(held, dict) or held.keys() != {"name", "config", *_FORMS}:
            raise ConfigError("it does not say which model it belongs to")
        words = {key: held[key] for key in ("name", *_FORMS)}
        if not all(isinstance(word, str) for word in words.values()) or not isinstance(held["config"], dict):
            raise ConfigError("what it says of its model is malformed")
        if not all(re.fullmatch(form, words[key], re.ASCII) for key, form in _FORMS.items()):
            raise ConfigError("what it says of its model is malformed")
        return cls(config=from_params(held["config"]), **words)

    def __str__(self) -> str:
        """One line by which a person tells models apart."""
        return (
            f"{said(self.name)[1:-1]} ({self.config.n_layers} layers, dim {self.config.dim}, weights {self.weights[:8]}, "
            f"tokenizer {self.tokenizer[:11]}, cache {self.kv_dtype})"
        )


def _weights(model: Transformer, adapter: int | None) -> Mapping[str, Tensor]:
    """The base's tensors under the names they have without adapters, and those of `adapter`."""
    base = {name.replace(".base.", "."): held for name, held in model.state_dict().items() if ".lora_" not in name}
    if adapter is None:
        return base
    scales = {f"{place}.scale": torch.tensor(scale) for place, scale in adapter_scales(model, adapter).items()}
    return base | adapter_weights(model, adapter) | scales


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 over name, type, shape and a few rows, spread from first to last, of every tensor.

    Training moves every matrix, so it shows; an edit of single rows between the sampled ones does not.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        if tensor.dim() > 1:
            tensor = tensor[[place * (len(tensor) - 1) // (_ROWS - 1) for place in range(_ROWS)]]
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()

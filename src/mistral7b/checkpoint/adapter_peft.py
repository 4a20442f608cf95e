"""PEFT's layout: adapter_config.json and adapter_model.safetensors, under Hugging Face's names and row order."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mistral7b.checkpoint.adapter import Adapter, check
from mistral7b.checkpoint.configs import read_object
from mistral7b.checkpoint.hf import consolidated_name, heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split, to_pairs
from mistral7b.checkpoint.shards import Shards
from mistral7b.config import ModelConfig, said
from mistral7b.errors import CheckpointError

FILE, FACTS = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight", re.ASCII)
# Keys that cannot change what is computed from the weights, beside those read below.
_INERT = frozenset((
    "task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size", "eva_config", "runtime_config",
    "ensure_weight_tying",
))  # fmt: skip
_READ = frozenset((
    "peft_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern",
    "bias", "init_lora_weights",
))  # fmt: skip
# What would have to be computed otherwise, or stands in other files, and why an adapter with it is refused.
_REFUSED = {
    "use_dora": "DoRA, which also changes the norms of the weights",
    "modules_to_save": "whole modules beside the adapter",
    "trainable_token_indices": "embeddings of tokens",
    "fan_in_fan_out": "weights stored input first",
}
# Beginnings that put the rest into the base's weights: such an adapter belongs to a base that was changed too.
_CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")


def read(folder: Path, config: ModelConfig) -> Adapter:
    """See `adapters.read_adapter`."""
    if not (folder / FACTS).is_file():
        raise CheckpointError(f"{folder} has {FILE} but no {FACTS}, which holds the scale; fetch it too")
    if not (folder / FILE).is_file():
        pickled = next((path.name for path in sorted(folder.glob("adapter_model.*")) if path.suffix != ".safetensors"), None)
        why = f"{pickled}, a pickle that is not opened" if pickled else f"no {FILE}"
        raise CheckpointError(f"{folder} holds {why}; save the adapter as safetensors")
    facts = read_object(folder / FACTS)
    _refuse(facts)
    weights: dict[str, Tensor] = {}
    with_names: dict[str, str] = {}  # place -> HF's name of the module
    shards = Shards(folder, single=FILE, index="")
    for key in shards.names():
        if "embed_tokens" in key or "lm_head" in key or "embedding" in key:
            raise CheckpointError(f"the adapter holds {key}: one that changes embeddings or the head is not supported")
        if not (match := _KEY.fullmatch(key)):
            raise CheckpointError(f"the adapter holds {key}, which is no LoRA of a projection")
        place = consolidated_name(f"{match[1]}.weight").removesuffix(".weight")
        with_names[place] = match[1]
        weights[f"{place}.lora_{match[2]}.weight"] = shards.get(key)
    alphas = _by_place(facts, "lora_alpha", "alpha_pattern", with_names)
    ranks = _by_place(facts, "r", "rank_pattern", with_names)
    check(config, weights, ranks)
    for place in with_names:
        if heads := heads_permuted(f"{place}.weight", config):
            weights[f"{place}.lora_B.weight"] = to_pairs(weights[f"{place}.lora_B.weight"], heads)
    root = math.sqrt if facts.get("use_rslora") else float
    base, dropout = facts.get("base_model_name_or_path"), facts.get("lora_dropout")
    return Adapter(
        config, weights, {place: alphas[place] / root(ranks[place]) for place in with_names},
        float(dropout) if isinstance(dropout, int | float) else 0.0, base if isinstance(base, str) else None,
    )  # fmt: skip


def written(adapter: Adapter) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(Tensors, adapter_config.json)."""
    tensors: dict[str, Tensor] = {}
    for place in adapter.scales:
        name, heads = f"{_PREFIX}{_module(place)}", heads_permuted(f"{place}.weight", adapter.config)
        tensors[f"{name}.lora_A.weight"] = adapter.a(place)
        tensors[f"{name}.lora_B.weight"] = adapter.b(place) if heads is None else to_half_split(adapter.b(place), heads)
    ranks = adapter.ranks
    alphas = {place: _number(scale * ranks[place]) for place, scale in adapter.scales.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    facts = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": _targets(adapter),
        "rank_pattern": {_module(place): held for place, held in ranks.items() if held != rank},
        "alpha_pattern": {_module(place): held for place, held in alphas.items() if held != alpha},
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    return tensors, facts


def _refuse(facts: Mapping[str, Any]) -> None:
    if (kind := facts.get("peft_type")) != "LORA":
        raise CheckpointError(f"{FACTS} says peft_type {said(kind)}; only LORA is supported")
    for key, what in _REFUSED.items():
        if facts.get(key):
            raise CheckpointError(f"{FACTS} sets {key}: {what}; only plain LoRA is supported")
    if facts.get("bias", "none") != "none":
        raise CheckpointError(f"{FACTS} sets bias to {said(facts['bias'])}, and the network has no biases; train without")
    begun = facts.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_CHANGED_BASES):
        raise CheckpointError(f"{FACTS} says init_lora_weights {said(begun)}, which changes the base too; convert it with PEFT")
    for key, value in facts.items():
        if value and key not in _INERT and key not in _READ:
            raise CheckpointError(f"{FACTS} sets {said(key)} to {said(value)}, which is not supported: only plain LoRA is")


def _by_place(facts: Mapping[str, Any], key: str, pattern: str, with_names: Mapping[str, str]) -> dict[str, float]:
    """The number `key` of each place, or what the first name in `pattern` that ends the module's name says."""
    special = facts.get(pattern) or {}
    if not isinstance(special, dict) or not all(re.fullmatch(r"\^?[\w.]+", name, re.ASCII) for name in special):
        # PEFT takes them as regular expressions; one of a stranger's could run for ever.
        raise CheckpointError(f"{FACTS}: {pattern} must give numbers by plain names of modules, not {said(special)}")
    found = {}
    for place, module in with_names.items():
        named = (value for name, value in special.items() if name == f"^{module}" or f".{module}".endswith(f".{name}"))
        value = next(named, facts.get(key))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise CheckpointError(f"{FACTS}: {key} of {module} must be a positive number, not {said(value)}")
        found[place] = value
    return found


def _targets(adapter: Adapter) -> list[str]:
    """The last parts of the modules' names where every layer has them all; else all names."""
    kinds = {place.split(".", 2)[2] for place in adapter.scales}
    if len(adapter.scales) < len(kinds) * adapter.config.n_layers:
        return [_module(place) for place in adapter.scales]
    return sorted({_module(place).rsplit(".", 1)[1] for place in adapter.scales})


def _module(place: str) -> str:
    return hf_name(f"{place}.weight").removesuffix(".weight")


def _number(value: float) -> float:
    return int(value) if value == int(value) else value

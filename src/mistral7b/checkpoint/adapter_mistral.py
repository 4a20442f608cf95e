"""mistral-finetune's layout: lora.safetensors under consolidated names, and params.json, whose `lora` has rank and scaling."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.checkpoint.adapter import Adapter, check, widest
from mistral7b.checkpoint.configs import PARAMS, read_object
from mistral7b.checkpoint.shards import Shards
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig, from_params, said
from mistral7b.errors import CheckpointError

FILE, FACTS = "lora.safetensors", PARAMS
_KEY = re.compile(r"layers\.(0|[1-9]\d*)\.(attention|feed_forward)\.w[a-z0-9]\.lora_[AB]\.weight", re.ASCII)


def read(folder: Path, file: str, config: ModelConfig) -> Adapter:
    """See `adapters.read_adapter`."""
    shards = Shards(folder, single=file, index="")
    weights: dict[str, Tensor] = {}
    for key in shards.names():
        if not _KEY.fullmatch(key):
            raise CheckpointError(f"the adapter holds {key}, which is no LoRA of a projection")
        weights[key] = shards.get(key)
    facts = _lora(folder)
    scale, rank, dropout = facts.get("scaling"), facts.get("rank"), facts.get("dropout", 0.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise CheckpointError(f"{folder / FACTS}: lora.scaling must be a positive number, not {said(scale)}")
    places = dict.fromkeys(key.rsplit(".lora_", 1)[0] for key in weights)
    check(config, weights, dict.fromkeys(places, rank) if isinstance(rank, int) else {})
    dropout = float(dropout) if isinstance(dropout, int | float) else 0.0
    return Adapter(config, weights, dict.fromkeys(places, float(scale)), dropout)


def written(adapter: Adapter) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(Tensors, params.json): one rank, one scale, one type and every projection, as mistral-inference wants them."""
    rank, scale, kind = max(adapter.ranks.values()), max(adapter.scales.values()), widest(adapter.weights)
    tensors: dict[str, Tensor] = {}
    for name, shape in expected_shapes(adapter.config).items():
        place = name.removesuffix(".weight")
        if place in adapter.scales:
            a, b, own = adapter.a(place), adapter.b(place), adapter.scales[place]
            missing = rank - len(a)
            # Not multiplied where it is the same: to the bit what was read.
            b = b if own == scale else b.float() * (own / scale)
            a, b = F.pad(a, (0, 0, 0, missing)), F.pad(b, (0, missing))
        elif len(shape) == 2 and place.startswith("layers."):
            a, b = torch.zeros(rank, shape[1]), torch.zeros(shape[0], rank)
        else:
            continue
        tensors[f"{place}.lora_A.weight"], tensors[f"{place}.lora_B.weight"] = a.to(kind), b.to(kind)
    lora = {"enable": True, "rank": rank, "dropout": adapter.dropout, "scaling": scale}
    return tensors, adapter.config.to_params() | {"lora": lora}


def config_of(folder: Path) -> ModelConfig:
    """The architecture that stands in params.json beside `lora`."""
    _lora(folder)
    params = read_object(folder / FACTS)
    return from_params({key: value for key, value in params.items() if key != "lora" and (key, value) != ("moe", None)})


def _lora(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    lora = read_object(path).get("lora") if path.is_file() else None
    if not isinstance(lora, dict):
        wanted = '{"lora": {"rank": 64, "scaling": 2.0}}'
        raise CheckpointError(f"{path} must say how the adapter is scaled; mistral-finetune writes it beside, as {wanted}")
    return lora

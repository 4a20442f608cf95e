"""Optimizers by name, with their groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mistral7b.errors import RecipeError
from mistral7b.train.muon import Muon
from mistral7b.train.recipe import Optimizer

PEAK = "peak"  # key of a group's own peak learning rate


def optimizers(model: nn.Module, recipe: Optimizer) -> list[torch.optim.Optimizer]:
    """One optimizer, or two for Muon, which takes the matrices inside the layers. Weight decay falls on matrices only; every
    group knows its peak rate. Frozen weights are left out.

    Raises RecipeError for 8-bit moments without bitsandbytes, and for those of sharded weights, which it does not know.
    """
    muon = recipe.name == "muon"
    inner: list[Tensor] = []
    groups: list[dict[str, Any]] = []
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if muon and weight.dim() == 2 and name.startswith("layers."):
            inner.append(weight)
            continue
        scale = recipe.scales.get(_kind(name, weight), 1.0)
        decay = recipe.weight_decay if weight.dim() == 2 and not muon else 0.0
        _place(groups, weight, recipe.rate * scale, decay)
    found: list[torch.optim.Optimizer] = []
    if muon:
        found.append(Muon(inner, lr=recipe.rate, weight_decay=recipe.weight_decay))
    found.append(_adamw(groups, recipe))
    for optimizer in found:
        for group in optimizer.param_groups:
            group[PEAK] = group["lr"]
    return found


def _adamw(groups: list[dict[str, Any]], recipe: Optimizer) -> torch.optim.Optimizer:
    weights = [weight for group in groups for weight in group["params"]]
    if "8bit" not in recipe.name:
        fused = all(weight.device.type in ("cpu", "cuda") for weight in weights)
        return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, fused=fused)
    if any(isinstance(weight, DTensor) for weight in weights):
        raise RecipeError(f"optimizer.name {recipe.name} does not take weights in shards; use adamw, whose moments are too")
    try:
        from bitsandbytes import optim as bitsandbytes
    except ImportError:
        raise RecipeError(f"optimizer.name {recipe.name} needs bitsandbytes; pip install 'mistral7b[train]'") from None
    # There is nothing to page out of a CPU's own memory to, and bitsandbytes would say so for every weight.
    paged = recipe.name.startswith("paged") and all(weight.device.type == "cuda" for weight in weights)
    kind = getattr(bitsandbytes, "PagedAdamW8bit" if paged else "AdamW8bit")
    found: torch.optim.Optimizer = kind(groups, betas=recipe.betas, eps=recipe.eps)
    return found


def set_rates(optims: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Every group's learning rate as `share` of its peak."""
    for optimizer in optims:
        for group in optimizer.param_groups:
            group["lr"] = group[PEAK] * share


def _kind(name: str, weight: Tensor) -> str:
    if weight.dim() == 1:
        return "norms"
    return {"tok_embeddings.weight": "embeddings", "output.weight": "head"}.get(name, "layers")


def _place(groups: list[dict[str, Any]], weight: Tensor, rate: float, decay: float) -> None:
    """Into the group of its rate, decay and device mesh: an optimizer's fused step takes tensors of one mesh."""
    mesh = weight.device_mesh if isinstance(weight, DTensor) else None
    for group in groups:
        held = group["params"][0]
        held_mesh = held.device_mesh if isinstance(held, DTensor) else None
        if (group["lr"], group["weight_decay"]) == (rate, decay) and held_mesh == mesh:
            group["params"].append(weight)
            return
    groups.append({"params": [weight], "lr": rate, "weight_decay": decay})

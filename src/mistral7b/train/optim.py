"""Optimizers by name, with their groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mistral7b.train.muon import Muon
from mistral7b.train.recipe import Optimizer

PEAK = "peak"  # key of a group's own peak learning rate


def optimizers(model: nn.Module, recipe: Optimizer) -> list[torch.optim.Optimizer]:
    """One optimizer, or two for Muon, which takes the matrices inside the layers. Weight decay falls on matrices only; every
    group knows its peak rate."""
    muon = recipe.name == "muon"
    inner: list[Tensor] = []
    groups: list[dict[str, Any]] = []
    for name, weight in model.named_parameters():
        if muon and weight.dim() == 2 and name.startswith("layers."):
            inner.append(weight)
            continue
        scale = recipe.scales.get(_kind(name, weight), 1.0)
        decay = recipe.weight_decay if weight.dim() == 2 and not muon else 0.0
        _place(groups, weight, recipe.rate * scale, decay)
    found: list[torch.optim.Optimizer] = []
    if muon:
        found.append(Muon(inner, lr=recipe.rate, weight_decay=recipe.weight_decay))
    fused = all(w.device.type in ("cpu", "cuda") for group in groups for w in group["params"])
    found.append(torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, fused=fused))
    for optimizer in found:
        for group in optimizer.param_groups:
            group[PEAK] = group["lr"]
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

"""The weights a run begins with: new ones, the same on any number of ranks, or those of a model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.model.seeds import generator
from mistral7b.model.transformer import Transformer
from mistral7b.store.names import resolve
from mistral7b.train.recipe import Changes, Pretrain
from mistral7b.train.sharded import local, local_of


def origin(recipe: Pretrain) -> Checkpoint | None:
    """The model that `init_from` names, opened; None for new weights."""
    return None if recipe.init_from is None else open_checkpoint(resolve(recipe.init_from))


def config_of(recipe: Pretrain, begun: Checkpoint | None) -> ModelConfig:
    """The architecture to train."""
    if begun is None:
        assert recipe.model is not None
        return recipe.model
    return changed(begun.config, recipe.changes)


def changed(config: ModelConfig, changes: Changes) -> ModelConfig:
    """`config` with another theta or window."""
    new: dict[str, Any] = {}
    if changes.rope_theta is not None:
        new["rope_theta"] = changes.rope_theta
    if changes.sliding_window is not None:
        new["sliding_window"] = None if changes.sliding_window == "none" else changes.sliding_window
    return replace(config, **new)


@torch.no_grad()
def fill(model: Transformer, begun: Checkpoint | None, seed: int, beat: Callable[[], None] = lambda: None) -> None:
    """Puts each weight in place, one whole tensor in memory at a time; the model may be sharded."""
    weights = dict(model.named_parameters())
    if begun is None:
        for name, shape in expected_shapes(model.config).items():
            _put(weights[name], new_weight(name, shape, seed))
        return
    with open_source(begun, mapped=False) as source:
        for name in expected_shapes(model.config):
            _put(weights[name], source.get(name).float())
            beat()


def new_weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A function of (name, shape, seed): ones for norms; normal with variance 1 / fan-in for matrices, 0.02^2 for embeddings
    and head; zero for the two matrices that write into the residual stream, so that each layer begins as the identity."""
    if len(shape) == 1:
        return torch.ones(shape)
    weight = torch.zeros(shape)
    if not name.endswith(("attention.wo.weight", "feed_forward.w2.weight")):
        std = 0.02 if name in ("tok_embeddings.weight", "output.weight") else shape[1] ** -0.5
        nn.init.normal_(weight, std=std, generator=generator(seed, name))
    return weight


def _put(weight: Tensor, full: Tensor) -> None:
    local(weight).copy_(local_of(full.to(local(weight).device), weight))

"""Information moves W - 1 positions a layer (paper, section 2, figure 1): exactly so far, and no further."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from tests.equivalence import oracle
from tests.equivalence.crowd import Crowd
from tests.equivalence.networks import network, random_ids, small, weights

LENGTH = 40
LAYERS = 4


def _packed(model: Transformer, ids: list[int]) -> None:
    model(TokenBatch.pack([Span(ids)]))


def _chunked(model: Transformer, ids: list[int]) -> None:
    crowd = Crowd(model, chunk=9, page_tokens=4, max_len=LENGTH)
    member = crowd.join(ids)
    while member.left:
        crowd.step([(member, min(9, member.left))])


def _one_by_one(model: Transformer, ids: list[int]) -> None:
    crowd = Crowd(model, chunk=1, page_tokens=1, max_len=LENGTH)
    member = crowd.join(ids)
    while member.left:
        crowd.step([(member, 1)])


PATHS = {"packed": _packed, "chunked": _chunked, "one by one": _one_by_one}


def _layers(path: str, model: Transformer, ids: list[int]) -> list[Tensor]:
    """What each layer leaves for every position, `[T, dim]` each; index 0 is the first layer."""
    left: list[list[Tensor]] = [[] for _ in model.layers]
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output, rows=rows: rows.append(output))
        for layer, rows in zip(model.layers, left, strict=True)
    ]
    PATHS[path](model, ids)
    for hook in hooks:
        hook.remove()
    return [torch.cat(rows) for rows in left]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("window", "position"), [(1, 7), (2, 0), (4, 11), (8, 3), (5, 30), (None, 6)])
def test_a_changed_token_reaches_exactly_so_far(path: str, window: int | None, position: int) -> None:
    model = network(small(n_layers=LAYERS, sliding_window=window), std=0.3)
    ids = random_ids(LENGTH)
    other = [(token + 1) % 64 if i == position else token for i, token in enumerate(ids)]
    before, after = _layers(path, model, ids), _layers(path, model, other)
    for depth, (was, now) in enumerate(zip(before, after, strict=True), start=1):
        changed = (was != now).any(-1).nonzero().flatten().tolist()
        last = LENGTH - 1 if window is None else min(LENGTH - 1, position + depth * (window - 1))
        assert changed == list(range(position, last + 1)), f"layer {depth}"


@pytest.mark.parametrize("path", PATHS)
def test_each_layer_is_the_oracle_s(path: str) -> None:
    model = network(small(n_layers=LAYERS, sliding_window=5))
    ids = random_ids(LENGTH)
    expected = oracle.layer_outputs(weights(model), model.config, ids)[1:]
    for ours, theirs in zip(_layers(path, model, ids), expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4

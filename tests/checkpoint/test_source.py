from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from mistral7b.checkpoint import source as module
from mistral7b.checkpoint.source import ClosesItself, check, expected_shapes, in_model_order
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError
from mistral7b.variants import V01, V03
from tests.checkpoint import made


class Held(ClosesItself):
    """A source over tensors in memory."""

    def __init__(self, tensors: made.Weights) -> None:
        self.tensors = tensors

    def names(self) -> list[str]:
        return in_model_order(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self.tensors[name].dtype

    def get(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def close(self) -> None:
        self.tensors = {}


@pytest.mark.parametrize("config", [V01, V03, made.SMALL])
def test_shapes_hold_every_parameter_once(config: ModelConfig) -> None:
    shapes = expected_shapes(config)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == config.n_params
    assert len(shapes) == 9 * config.n_layers + 3


def test_order_is_the_models_whatever_the_file_says() -> None:
    names = list(expected_shapes(V01))
    shuffled = random.Random(0).sample(names, len(names))
    assert in_model_order(shuffled) == names
    assert in_model_order(["zebra", "output.weight", "layers.10.extra.weight", "layers.2.ffn_norm.weight"]) == [
        "layers.2.ffn_norm.weight", "layers.10.extra.weight", "output.weight", "zebra",
    ]  # fmt: skip


def test_a_complete_source_passes_and_each_fault_is_named() -> None:
    whole = made.weights()
    check(Held(whole), made.SMALL)
    wk = "layers.1.attention.wk.weight"
    faults = {
        f"lack {wk}": {name: t for name, t in whole.items() if name != wk},
        f"{wk} has shape": whole | {wk: whole[wk].T.contiguous()},
        f"{wk} is stored as torch.int8": whole | {wk: whole[wk].to(torch.int8)},
        "hold layers.2.ffn_norm.weight": whole | {"layers.2.ffn_norm.weight": torch.ones(32)},
    }
    for words, tensors in faults.items():
        with pytest.raises(CheckpointError, match=words) as caught:
            check(Held(tensors), made.SMALL)
        assert "\n" not in str(caught.value)


def test_a_billion_layers_are_refused_at_the_first_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    held = Held(made.weights())
    each_shape = module._each_shape

    def counted(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, shape in each_shape(config):
            asked.append(name)
            assert len(asked) < 100, "more names than the weights can hold"
            yield name, shape

    monkeypatch.setattr(module, "_each_shape", counted)
    with pytest.raises(CheckpointError, match=r"lack layers.2.attention_norm.weight") as caught:
        check(held, replace(made.SMALL, n_layers=10**9))
    assert "\n" not in str(caught.value)
    assert len(asked) == 1 + 9 * made.SMALL.n_layers + 1


def test_fill_converts_what_get_returns() -> None:
    whole = made.weights()
    out = torch.empty(64, 32)
    with Held(whole) as source:
        source.fill("output.weight", out)
    assert torch.equal(out, whole["output.weight"].float())

"""Fingerprint: the same model has the same, and another has not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mistral7b.conversations import Fingerprint
from mistral7b.conversations.fingerprint import weights_digest
from mistral7b.errors import ConfigError
from mistral7b.tokens.tokenizer import Tokenizer
from tests.conversations.made import MODEL
from tests.equivalence.networks import network, small, weights

V1 = Tokenizer.published("v1")


def of(seed: int = 0, tokenizer: Tokenizer = V1, dtype: torch.dtype = torch.float32) -> Fingerprint:
    return Fingerprint.of(network(small(), seed=seed), tokenizer, dtype, "small")


def test_the_same_model_twice_and_another() -> None:
    assert of() == of()
    assert of() == replace(of(), name="another name")
    assert of() != of(seed=1)
    assert of() != of(tokenizer=Tokenizer.published("v3"))
    assert of() != of(dtype=torch.bfloat16)


def test_the_same_file_read_as_another_generation_is_another_tokenizer(tmp_path: Path) -> None:
    v3 = Tokenizer.published("v3")
    shutil.copyfile(v3.path, tmp_path / "tokenizer.model")
    as_v3, as_v2 = (Tokenizer.load(tmp_path / "tokenizer.model", version) for version in ("v3", "v2"))
    assert of(tokenizer=v3) == of(tokenizer=as_v3)
    assert of(tokenizer=as_v3) != of(tokenizer=as_v2)


def test_every_tensor_counts() -> None:
    before = weights(network(small()))
    digest = weights_digest(before)
    for name, tensor in before.items():
        changes: list[Callable[[torch.Tensor], torch.Tensor]] = [lambda t: t + 1e-6, lambda t: t.bfloat16(), lambda t: t[:-1]]
        for change in changes:
            assert weights_digest({**before, name: change(tensor)}) != digest, name
        last = tensor.clone()
        last.view(-1)[-1] += 1e-3
        assert weights_digest({**before, name: last}) != digest, name
    swapped = {**before, "layers.0.attention.wk.weight": before["layers.0.attention.wv.weight"]}
    assert weights_digest(swapped) != digest
    assert weights_digest(dict(reversed(list(before.items())))) == digest, "their order does not"


def test_only_a_few_rows_are_read() -> None:
    """So that 14 GB of mapped weights stay on the disk."""

    class Counted(torch.Tensor):
        read = 0

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = super().__torch_function__(function, types, args, kwargs or {})  # type: ignore[no-untyped-call]
            if function is torch.Tensor.contiguous:
                Counted.read += result.numel()
            return result

    weights_digest({"w": torch.zeros(1000, 8).as_subclass(Counted)})
    assert 0 < Counted.read <= 4 * 8


def test_json_and_back() -> None:
    found = Fingerprint.from_json(of().to_json())
    assert (found, found.name) == (of(), "small")
    for windowless in (small(sliding_window=None), small()):
        made = replace(MODEL, config=windowless)
        assert Fingerprint.from_json(made.to_json()) == made


@pytest.mark.parametrize("held", [None, [], {}, {"name": "x"}, MODEL.to_json() | {"more": 1}, MODEL.to_json() | {"weights": "0"}])
def test_what_is_no_fingerprint(held: object) -> None:
    with pytest.raises(ConfigError):
        Fingerprint.from_json(held)


def test_one_line_for_people() -> None:
    assert str(MODEL) == "tiny (2 layers, dim 32, weights 00000000, tokenizer v3 11111111, cache bfloat16)"

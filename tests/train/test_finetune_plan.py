"""What a fine-tune is said to take: parts that add up, what quantisation changes, models that are not here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mistral7b.errors import RecipeError
from mistral7b.model.lora import LoraSpec, add_adapter
from mistral7b.train.finetune_plan import adapter_weights, make_finetune_plan
from mistral7b.train.finetune_recipe import Examples, Finetune, FinetuneData, FinetuneOptimizer, Lora
from mistral7b.train.recipe import Parallel
from mistral7b.variants import V03
from tests.equivalence.networks import network, small
from tests.train import test_finetune as made

GIB = 2**30


def _of_7b(tmp_path: Path, **changes: Any) -> Finetune:
    data = FinetuneData(train=(Examples(path=tmp_path / "not-there.jsonl"),), length=2048)
    return replace(Finetune(run=tmp_path, model="v0.3", data=data, parallel=Parallel(recompute=True)), **changes)


def test_a_published_model_need_not_be_here(tmp_path: Path) -> None:
    plan = make_finetune_plan(_of_7b(tmp_path), 1, "a10", 0.4)
    assert plan.memory["weights, frozen"] == 2 * V03.n_params
    assert plan.fits is True
    assert "not-there.jsonl is not there yet" in plan.notes[0]
    assert plan.steps == 1000


def test_fewer_bits_take_less(tmp_path: Path) -> None:
    sizes = {
        quantize: make_finetune_plan(_of_7b(tmp_path, quantize=quantize), 1, "cpu", 0.4).memory["weights, frozen"] / GIB
        for quantize in (None, "int8", "nf4", "int4")
    }
    assert sizes[None] > 13
    assert 6.9 < sizes["int8"] < 7.2
    assert 3.9 < sizes["int4"] < sizes["nf4"] < 4.6


def test_all_weights_are_reckoned_as_in_pretraining(tmp_path: Path) -> None:
    plan = make_finetune_plan(_of_7b(tmp_path, method="full"), 8, "h100", 0.4)
    assert plan.memory["optimizer"] == 8 * V03.n_params / 8
    assert plan.fits is True
    assert make_finetune_plan(_of_7b(tmp_path, method="full"), 1, "h100", 0.4).fits is False


def test_moments_of_eight_bits_are_a_quarter(tmp_path: Path) -> None:
    wide, narrow = (
        make_finetune_plan(_of_7b(tmp_path, optimizer=FinetuneOptimizer(name=name)), 1, "h100", 0.4).memory["adapter"]
        for name in ("adamw", "adamw8bit")
    )  # fmt: skip
    assert narrow == pytest.approx(wide * 10.1 / 16)


def test_the_weights_of_an_adapter_are_counted(tmp_path: Path) -> None:
    config = small()
    lora = Lora(rank=3, targets=("wq", "w2"))
    model = network(config)
    add_adapter(model, LoraSpec(3, 3.0, targets=lora.targets), 1)
    counted = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert adapter_weights(_of_7b(tmp_path, lora=lora), config) == counted


def test_tokens_are_those_of_the_examples(tmp_path: Path) -> None:
    files = made.examples(tmp_path)
    given = made.recipe(tmp_path / "run", "tiny", files)
    plan = make_finetune_plan(given, 1, "cpu", 0.4)
    assert not plan.notes
    assert 6 * 64 * 8 < plan.tokens < 6 * 64 * 20
    assert plan.steps == 16


def test_a_device_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="toaster"):
        make_finetune_plan(_of_7b(tmp_path, method="full"), 1, "toaster", 0.4)
    with pytest.raises(RecipeError, match="toaster"):
        make_finetune_plan(_of_7b(tmp_path), 1, "toaster", 0.4)

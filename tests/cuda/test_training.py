"""Training on an NVIDIA GPU beside the same on the CPU: attention of packed documents, whole runs, packed weights, 8-bit moments.

python -m pytest tests/cuda
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistral7b.kernels.flex import FlexPlan
from mistral7b.kernels.packed import PackedPlan, packed_attention
from mistral7b.quant.nearest import nearest
from mistral7b.train.finetune import finetune
from mistral7b.train.finetune_recipe import FinetuneOptimizer, Lora
from mistral7b.train.nf4 import NF4Matrix
from mistral7b.train.pretrain import pretrain
from mistral7b.train.recipe import Optimizer, Parallel
from tests.train import made
from tests.train.test_finetune import examples, recipe

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.filterwarnings("ignore"),  # torch's compiler has much to say
]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIG = replace(made.CONFIG, dim=64, head_dim=16)  # FlexAttention takes heads of 16 at least


def _attended(plan: Any, attend: Any, tensors: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The result and the gradients of q, k and v, in fp32 on the CPU."""
    inputs = [x.detach().clone().requires_grad_() for x in tensors]
    out = attend(*inputs, plan)
    out.backward(grad)
    return [x.detach().float().cpu() for x in (out, *(each.grad for each in inputs))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(8, 2, 32), (4, 1, 128)])
def test_attention_and_its_gradients(dtype: torch.dtype, heads: int, kv_heads: int, size: int) -> None:
    """Of any lengths and windows, compiled once for all lengths up to the same power of two."""
    generator, bound = torch.Generator().manual_seed(0), 1e-4 if dtype == torch.float32 else 2e-2
    for window in (1, 300, None):  # a number in the rule's code, of which a model has one
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        for lengths in ([5], [128], [40, 110, 150], [300, 1, 83], [700, 324], [500, 90]):
            rows = sum(lengths)
            positions = torch.cat([torch.arange(length) for length in lengths])
            q, k, v, grad = (
                torch.randn(rows, count, size, generator=generator).to(dtype) for count in (heads, kv_heads, kv_heads, heads)
            )
            on_gpu = [x.to(CUDA) for x in (q, k, v)]
            found = _attended(
                FlexPlan.of(positions, window, CUDA), lambda q, k, v, plan: plan.attend(q, k, v), on_gpu, grad.to(CUDA)
            )
            wide = [x.float() for x in (q, k, v)]
            expected = _attended(PackedPlan.of(positions, window, CPU), packed_attention, wide, grad.float())
            # Where a query sees one key the gradients of q and k are zero, as differences of terms that are not.
            terms = grad.float().norm() * 1e-2
            for one, other in zip(found, expected, strict=True):
                assert (one - other).norm() <= bound * torch.maximum(other.norm(), terms), (window, lengths)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3  # 256, 512 and 1,024 rows


def _losses(run: Path, shards: Path, device: torch.device, **changes: Any) -> tuple[list[float], made.Silent]:
    watcher = made.Silent()
    pretrain(made.recipe(run, shards, model=CONFIG, **changes), watcher, device=device)
    return [line["loss"] for line in watcher.lines], watcher


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shards(tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({}, 2e-4),
        ({"parallel": Parallel(recompute=True)}, 2e-4),
        ({"parallel": Parallel(compile=True)}, 2e-4),
        ({"precision": "bf16"}, 2e-2),
        ({"precision": "bf16", "parallel": Parallel(compile=True)}, 2e-2),
        ({"optimizer": Optimizer(name="muon", rate=3e-3)}, 2e-2),  # made orthogonal in bf16 there
    ],
    ids=["fp32", "recompute", "compile", "bf16", "bf16-compile", "muon"],
)
def test_a_run_is_that_of_the_cpu(tmp_path: Path, shards: Path, changes: dict[str, Any], bound: float) -> None:
    torch._dynamo.reset()
    usual = {key: value for key, value in changes.items() if key == "optimizer"}
    expected, heard = _losses(tmp_path / "cpu", shards, CPU, **usual)
    found, told = _losses(tmp_path / "cuda", shards, CUDA, **changes)
    assert len(found) == len(expected) > 20
    assert expected[-1] < expected[0] - 0.5
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < bound
    for (_, ours, _), (_, theirs, _) in zip(told.evaluations, heard.evaluations, strict=True):
        assert ours == pytest.approx(theirs, rel=bound)
    assert (tmp_path / "cuda/model/model.safetensors").is_file()


def test_a_stopped_run_goes_on(tmp_path: Path, shards: Path) -> None:
    expected, _ = _losses(tmp_path / "whole", shards, CUDA)
    given, watcher = made.recipe(tmp_path / "parts", shards, model=CONFIG), made.Silent()
    pretrain(given, watcher, device=CUDA, until=9)
    pretrain(given, watcher, device=CUDA)
    found = [line["loss"] for line in watcher.lines]
    assert len(found) == len(expected)
    # Sums by atomic additions have no order, so not bit for bit.
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 1e-4


def test_nf4_is_that_of_the_cpu() -> None:
    weight = torch.randn(96, 128, generator=torch.Generator().manual_seed(0))
    here, there = NF4Matrix.of(weight), NF4Matrix.of(weight.to(CUDA))
    torch.testing.assert_close(there.dense(torch.float32).cpu(), here.dense(torch.float32), atol=1e-6, rtol=0)


def test_packed_weights_are_those_of_the_cpu() -> None:
    weight = torch.randn(96, 128, generator=torch.Generator().manual_seed(0))
    for name in ("int4", "int8"):
        here = nearest(weight, name)
        there = nearest(weight.to(CUDA), name)
        torch.testing.assert_close(there.dense(torch.float32).cpu(), here.dense(torch.float32), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("quantize", "optimizer"), [(None, "adamw"), ("nf4", "paged_adamw8bit"), ("int4", "adamw8bit"), ("int8", "adamw")]
)
def test_an_adapter_learns(tmp_path: Path, quantize: Any, optimizer: Any) -> None:
    torch._dynamo.reset()
    given = recipe(
        tmp_path / "run", "tiny", examples(tmp_path), quantize=quantize, precision="bf16",
        optimizer=FinetuneOptimizer(name=optimizer, rate=1e-2),
    )  # fmt: skip
    watcher = made.Silent()
    finetune(given, watcher, device=CUDA)
    assert watcher.lines[-1]["loss"] < watcher.lines[0]["loss"] - 1
    assert (tmp_path / "run/adapter/adapter_model.safetensors").is_file()


def test_preferences_are_those_of_the_cpu(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    said = [
        {"prompt": f"What is {word}?", "chosen": f"A {word} is.", "rejected": f"No {word} is."} for word in ("red", "blue") * 8
    ]
    pairs.write_text("".join(json.dumps(each) + "\n" for each in said))
    found = []
    for device in (CPU, CUDA):
        given = recipe(tmp_path / device.type, "tiny", (pairs, pairs), objective="dpo", lora=Lora(rank=4, alpha=8.0))
        watcher = made.Silent()
        finetune(replace(given, optimizer=FinetuneOptimizer(rate=4e-3)), watcher, device=device)
        found.append([line["loss"] for line in watcher.lines])
    here, there = found
    assert here[-1] < 0.6
    assert max(abs(a - b) for a, b in zip(here, there, strict=True)) < 1e-3

"""FlexAttention's plan, as far as a CPU can follow it: the rule against `visible`, the blocks against the rule, the uncompiled
result against packed attention. The compiled kernel runs on CUDA only (tests/cuda)."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.kernels.flex import BLOCK, FlexPlan, _blocks, mask_rule
from mistral7b.kernels.interface import visible
from mistral7b.kernels.packed import PackedPlan, oldest_seen, packed_attention

CPU = torch.device("cpu")


def _positions(lengths: list[int]) -> Tensor:
    return torch.cat([torch.arange(length) for length in lengths])


def _dense(lengths: list[int], window: int | None) -> Tensor:
    """The rule as the other rooms have it: by positions, and by document."""
    positions, document = _positions(lengths), torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return visible(positions[:, None], positions, window) & (document[:, None] == document)


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=5), window=st.sampled_from([1, 2, 100, 128, 129, 256, None]))
@example(lengths=[BLOCK, 2 * BLOCK, 1], window=BLOCK)
@example(lengths=[4 * BLOCK], window=2 * BLOCK)
def test_rule_and_blocks(lengths: list[int], window: int | None) -> None:
    positions, expected = _positions(lengths), _dense(lengths, window)
    row = torch.arange(len(positions))
    rule = mask_rule(row - positions, window)
    assert torch.equal(rule(row[0], row[0], row[:, None], row[None, :]), expected)
    partial, full = _blocks(oldest_seen(positions, window))
    assert not (partial & full).any()
    for i, queries in enumerate(expected.split(BLOCK)):
        for j, seen in enumerate(queries.split(BLOCK, 1)):
            assert bool(partial[i, j] | full[i, j]) == bool(seen.any())
            if full[i, j]:
                assert seen.all()
            else:  # a block that is all seen costs its mask where it is not said to be full
                assert i == j or not seen.all()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [1, 60, 128, None])
@pytest.mark.parametrize("lengths", [[5], [128], [40, 110, 150], [300, 1, 83]])
def test_uncompiled_equals_packed(lengths: list[int], window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(sum(lengths), heads, 16, generator=generator) for heads in (4, 2, 2))
    positions = _positions(lengths)
    found = FlexPlan.of(positions, window, CPU).attend(q, k, v)
    expected = packed_attention(q, k, v, PackedPlan.of(positions, window, CPU))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_cpu_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch; from mistral7b.kernels.training_room import TrainingKernels as K; k = K();"
        "q = torch.randn(9, 2, 8); k.attention(q, q, q, k.plan_packed(torch.arange(9), 4, q.device));"
        "sys.exit('torch._inductor' in sys.modules or 'torch.nn.attention.flex_attention' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

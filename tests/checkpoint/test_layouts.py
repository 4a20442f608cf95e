from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.checkpoint.layouts import to_half_split, to_pairs
from mistral7b.errors import CheckpointError


def test_one_head_by_hand() -> None:
    pairs = torch.tensor([0, 10, 1, 11, 2, 12])  # a0 b0 a1 b1 a2 b2
    assert to_half_split(pairs, 1).tolist() == [0, 1, 2, 10, 11, 12]
    assert to_half_split(torch.cat((pairs, pairs + 100)), 2).tolist() == [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112]


@given(
    heads=st.sampled_from([1, 2, 4, 8, 32]),
    half=st.integers(1, 8),
    dim=st.integers(1, 6),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.int8, torch.float64]),
    seed=st.integers(0, 1000),
)
def test_round_trip_is_bit_exact(heads: int, half: int, dim: int, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-128, 128, (heads * 2 * half, dim * dtype.itemsize), generator=generator, dtype=torch.int8)
    weight = bits.view(dtype)  # NaNs included: only bits are moved
    there = to_half_split(weight, heads)
    assert there.dtype == dtype
    assert torch.equal(to_pairs(there, heads).view(torch.int8), bits)
    assert torch.equal(to_half_split(to_pairs(weight, heads), heads).view(torch.int8), bits)


@pytest.mark.parametrize("shape", [(), (6,), (6, 3)])
def test_rows_that_are_no_heads(shape: tuple[int, ...]) -> None:
    for permute in (to_pairs, to_half_split):
        with pytest.raises(CheckpointError, match="cannot hold 2 heads"):
            permute(torch.zeros(shape), 2)

"""A small change put into a packed matrix survives the rounding where it is read, and costs little elsewhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.quant.formats import FORMATS, FormatName
from mistral7b.quant.matrix import PackedMatrix, pack
from mistral7b.quant.nearest import nearest
from mistral7b.quant.shifted import _pulls, shifted
from tests.quant import scalar

NAMES: list[FormatName] = list(FORMATS)


def drawn(format: FormatName, rank: int, strength: float) -> tuple[PackedMatrix, torch.Tensor, torch.Tensor]:
    """A packed matrix of 48 x 384, and the factors of a change of `strength` times its weights' standard deviation."""
    generator = torch.Generator().manual_seed(0)
    packed = nearest(torch.randn(48, 384, generator=generator), format)
    deviation = float(packed.dense(torch.float32).std())
    b, a = torch.randn(48, rank, generator=generator), torch.randn(rank, 384, generator=generator)
    return packed, b * strength * deviation * rank**-0.5, a


@pytest.mark.parametrize("format", ["int4", "int5", "int8"])
@pytest.mark.parametrize("strength", [0.003, 0.03])
def test_the_change_is_there_in_the_directions_that_read_it(format: FormatName, strength: float) -> None:
    packed, b, a = drawn(format, 4, strength)
    made = shifted(packed, b, a)
    change = made.dense(torch.float32) - packed.dense(torch.float32)
    for mine, other in zip(made.codes()[1:], packed.codes()[1:], strict=True):
        assert mine is None or torch.equal(mine, other), "the scales stay"  # type: ignore[arg-type]
    wanted = b @ a @ a.T
    assert float(((change @ a.T) * wanted).sum() / wanted.square().sum()) == pytest.approx(1, abs=0.2)
    if format == "int4" and strength < 0.01:
        lost = shifted(packed, b, a, weight=1e9).dense(torch.float32) - packed.dense(torch.float32)
        assert not lost.any(), "to nearest, nothing is left"


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 40), st.integers(1, 70), st.integers(1, 6))
def test_no_change_leaves_every_bit(format: FormatName, rows: int, inputs: int, rank: int) -> None:
    packed = pack(format, *scalar.codes(format, rows, inputs, 2))
    made = shifted(packed, torch.zeros(rows, rank), torch.randn(rank, inputs))
    assert made.format == packed.format
    assert torch.equal(made.blocks, packed.blocks)


def test_pulls_are_the_inverses_they_stand_for() -> None:
    rows = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k, pull in enumerate(_pulls(rows, 0.1)):
        left = 0.1 * torch.eye(3, dtype=torch.float64) + rows[k:].T @ rows[k:]
        torch.testing.assert_close(pull, torch.linalg.solve(left, rows[k]))


def test_a_matrix_wider_in_rank_than_in_inputs() -> None:
    packed = pack("int4", *scalar.codes("int4", 16, 8, 3))
    b, a = torch.randn(16, 20) * 0.01, torch.randn(20, 8)
    assert shifted(packed, b, a).shape == (16, 8)

"""Round to nearest: scales that never lose to plain ones, levels that no other level beats."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.quant.formats import FORMATS, FormatName
from mistral7b.quant.nearest import nearest

FOUND: list[FormatName] = ["int4", "int5", "int8"]


def random(rows: int, inputs: int, seed: int) -> torch.Tensor:
    """Rows of very different sizes, with a few large weights."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, inputs, generator=generator) * torch.rand(rows, 1, generator=generator)
    return weight * (1 + 5 * (torch.rand(rows, inputs, generator=generator) > 0.98))


def absmax(weight: torch.Tensor, format: FormatName) -> torch.Tensor:
    """Every group's scale reaches just its largest weight; the channel's scale is such that the widest group's integer is 240."""
    form, out = FORMATS[format], torch.zeros_like(weight)
    for n, row in enumerate(weight):
        width = 32 if form.group_scales == "u8" else len(row)
        reach = [float(group.abs().max()) / form.high for group in row.split(width)]
        channel = max(reach) / (240 if form.group_scales == "u8" else 1)
        for i, group in enumerate(row.split(width)):
            step = max(1, round(reach[i] / channel)) * channel
            out[n, i * width : i * width + len(group)] = (group / step).round().clamp(form.low, form.high) * step
    return out


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(FOUND), st.integers(1, 20), st.integers(1, 200), st.integers(0, 2**31))
def test_never_worse_than_absmax(format: FormatName, rows: int, inputs: int, seed: int) -> None:
    weight = random(rows, inputs, seed)
    ours = (nearest(weight, format).dense(torch.float32) - weight).square().sum(1)
    plain = (absmax(weight, format) - weight).square().sum(1)
    assert bool((ours <= plain * 1.0001 + 1e-12).all())


def test_the_search_pays_on_normal_weights() -> None:
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(0))
    ours, plain = nearest(weight, "int4").dense(torch.float32), absmax(weight, "int4")
    assert float((ours - weight).square().sum()) < 0.93 * float((plain - weight).square().sum())


def test_importance_moves_the_error_away_from_what_matters() -> None:
    weight, importance = random(32, 256, 3), torch.ones(256)
    importance[::4] = 100
    errors = [(nearest(weight, "int4", given).dense(torch.float32) - weight).square() for given in (None, importance)]
    assert float((errors[1] * importance).sum()) < float((errors[0] * importance).sum())


@pytest.mark.parametrize("format", FOUND)
def test_zeros_stay_zeros(format: FormatName) -> None:
    weight = random(20, 160, 1)
    weight[3] = 0
    weight[5, 32:64] = 0
    weight[7] = 1e-40  # subnormal: no scale could reach it
    dense = nearest(weight, format).dense(torch.float32)
    assert not dense[3].any()
    assert not dense[5, 32:64].any()
    assert not dense[7].any()
    assert dense.isfinite().all()


@pytest.mark.parametrize("format", FOUND)
def test_dtype_and_parts_do_not_matter(format: FormatName, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random(50, 96, 2).bfloat16()
    whole = nearest(weight.float(), format)
    monkeypatch.setattr("mistral7b.quant.nearest._WEIGHTS_AT_ONCE", 700)
    parts = nearest(weight, format)
    assert torch.equal(parts.blocks, whole.blocks)
    assert parts.scales is not None
    assert whole.scales is not None
    assert torch.equal(parts.scales, whole.scales)

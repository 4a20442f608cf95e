"""GPTQ against its definition, and against rounding to the nearest."""

from __future__ import annotations

import pytest
import torch

from mistral7b.errors import NumericError
from mistral7b.quant.formats import FORMATS, FormatName
from mistral7b.quant.nearest import nearest, search
from mistral7b.quantize import gptq as room
from mistral7b.quantize.gptq import DAMPING, Hessian, gptq


def inputs(rows: int, wide: int) -> torch.Tensor:
    """Activations that hang together, some channels much larger than others."""
    generator = torch.Generator().manual_seed(wide)
    mixed = torch.randn(rows, wide, generator=generator) @ torch.randn(wide, wide, generator=generator) / wide**0.5
    return mixed * torch.logspace(-1, 1, wide)[torch.randperm(wide, generator=generator)]


def weights(rows: int, wide: int) -> torch.Tensor:
    return torch.randn(rows, wide, generator=torch.Generator().manual_seed(rows))


def plain_gptq(weight: torch.Tensor, x: torch.Tensor, format: FormatName) -> torch.Tensor:
    """Algorithm 1 of the paper in float64, with the inverse it asks for, in the order of importance, scales standing before."""
    form = FORMATS[format]
    hessian = (x.double().T @ x.double()) / len(x)
    order = hessian.diagonal().argsort(descending=True)
    hessian = hessian[order][:, order]
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    each = search(weight, form).each().double()
    steps = (each.repeat_interleave(32, 1) if each.shape[1] > 1 else each.expand_as(weight))[:, order]
    left, out = weight.double()[:, order], torch.zeros(weight.shape, dtype=torch.float64)
    for k in range(len(order)):
        out[:, k] = (left[:, k] / steps[:, k]).round().clamp(form.low, form.high) * steps[:, k]
        error = (left[:, k] - out[:, k]) / upper[k, k]
        left[:, k:] -= error[:, None] * upper[k, k:]
    back = torch.zeros_like(out)
    back[:, order] = out
    return back


@pytest.mark.parametrize("format", ["int4", "int5", "int8"])
def test_is_the_algorithm_of_the_paper(format: FormatName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_INPUTS", 24)  # several products, none of a whole group
    monkeypatch.setattr(room, "_ROWS", 16)
    x, weight = inputs(400, 64), weights(40, 64)
    hessian = Hessian(64)
    for part in x.split(150):
        hessian.add(part)
    ours = gptq(weight, format, hessian.factor()).dense(torch.float32).double()
    same = torch.isclose(ours, plain_gptq(weight, x, format), rtol=1e-4, atol=1e-6)
    # A rounding that fp32 decides otherwise than fp64 may move a few levels after it.
    assert float(same.double().mean()) > 0.98


@pytest.mark.parametrize("format", ["int4", "int5", "int8"])
def test_beats_the_nearest_in_what_comes_out(format: FormatName) -> None:
    x, weight = inputs(1000, 128), weights(48, 128)
    hessian = Hessian(128)
    hessian.add(x)
    factor = hessian.factor()
    ours, plain = (
        (x @ (weight - made.dense(torch.float32)).T).square().sum()
        for made in (gptq(weight, format, factor), nearest(weight, format))
    )
    assert float(ours) < 0.7 * float(plain)


def test_inputs_that_never_stir_and_rows_of_zeros() -> None:
    x, weight = inputs(300, 64), weights(20, 64)
    x[:, 10:20] = 0
    weight[4] = 0
    hessian = Hessian(64)
    hessian.add(x)
    dense = gptq(weight, "int4", hessian.factor()).dense(torch.float32)
    assert dense.isfinite().all()
    assert not dense[4].any()
    torch.testing.assert_close(dense[:, 10:20], nearest(weight, "int4").dense(torch.float32)[:, 10:20])


def test_activations_that_are_not_finite_are_told() -> None:
    hessian = Hessian(8)
    hessian.add(torch.full((4, 8), 1e30))
    with pytest.raises(NumericError, match="activations of the calibration are not finite"):
        hessian.factor()

"""The training room: the reference's values and gradients, in every type that trains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.rope import rotations

ROWS, DIM, HEADS, CHANNELS = 21, 48, 3, 16
PLAIN, FAST = TorchKernels(row_tile=None), TrainingKernels()
COS, SIN = rotations(torch.arange(ROWS) * 7, CHANNELS, 1e4)
Function = Callable[..., Tensor]


def _functions(kernels: TorchKernels) -> dict[str, tuple[Function, list[tuple[int, ...]]]]:
    """Each with the shapes of what it is differentiated by."""
    return {
        "rms_norm": (lambda x, weight: kernels.rms_norm(x, weight, 1e-5), [(ROWS, DIM), (DIM,)]),
        "rope": (lambda x: kernels.rope(x, COS, SIN), [(ROWS, HEADS, CHANNELS)]),
        "swiglu": (kernels.swiglu, [(ROWS, DIM), (ROWS, DIM)]),
    }


def _drawn(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [(2 * torch.randn(shape, generator=generator)).to(dtype).requires_grad_() for shape in shapes]


def _pulled(function: Function, given: list[Tensor]) -> list[Tensor]:
    """The result, and the gradients under a fixed pull."""
    out = function(*given)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(4))
    out.backward(pull.to(out.dtype))
    return [out.detach(), *(x.grad for x in given if x.grad is not None)]


@pytest.mark.parametrize("name", ["rms_norm", "rope", "swiglu"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_values_and_gradients(name: str, dtype: torch.dtype, bound: float) -> None:
    """In bf16 the reference itself, in fp32, is the measure: a few roundings of 2^-8."""
    function, shapes = _functions(FAST)[name]
    found = _pulled(function, _drawn(shapes, dtype))
    exact = [x.detach().float().requires_grad_() for x in _drawn(shapes, dtype)]
    expected = _pulled(_functions(PLAIN)[name][0], exact)
    assert len(found) == len(expected) == 1 + len(shapes)
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.float(), other, atol=bound * float(other.abs().max()), rtol=0)


def test_an_input_that_is_a_slice_is_not_changed() -> None:
    """Gate and up, or q and k, may be views of one product."""
    whole = torch.randn(ROWS, 2 * DIM, requires_grad=True)
    before = whole.detach().clone()
    gate, up = whole.split(DIM, -1)
    heads = whole.unflatten(-1, (-1, CHANNELS))
    (FAST.swiglu(gate, up).sum() + FAST.rope(heads[:, 1:4], COS, SIN).sum()).backward()
    assert torch.equal(whole, before)
    other = before.clone().requires_grad_()
    gate, up = other.split(DIM, -1)
    (PLAIN.swiglu(gate, up).sum() + PLAIN.rope(other.unflatten(-1, (-1, CHANNELS))[:, 1:4], COS, SIN).sum()).backward()
    torch.testing.assert_close(whole.grad, other.grad, atol=1e-5, rtol=1e-5)


def test_half_precision_products_on_wide_weights() -> None:
    """Under autocast the residual is fp32 and what the products give bf16."""
    with torch.autocast("cpu", torch.bfloat16):
        x, weight = _drawn([(ROWS, DIM), (DIM,)], torch.float32)
        assert FAST.rms_norm(x, weight, 1e-5).dtype == torch.float32
        gate, up = _drawn([(ROWS, DIM), (ROWS, DIM)], torch.bfloat16)
        out = FAST.swiglu(gate, up)
        out.sum().backward()
    assert out.dtype == torch.bfloat16
    assert gate.grad is not None
    assert gate.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["rms_norm", "rope", "swiglu"])
def test_less_is_kept(name: str) -> None:
    """Bytes kept beside the arguments: one number a row of a norm."""
    function, shapes = _functions(FAST)[name]
    given = _drawn(shapes, torch.float32)
    mine = {x.untyped_storage().data_ptr() for x in (*given, COS, SIN)}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in mine:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        function(*given)
    assert sum(kept.values()) <= (4 * ROWS if name == "rms_norm" else 0)

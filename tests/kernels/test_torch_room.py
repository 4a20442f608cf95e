"""The reference room: each formula against float64, and rows whose bits do not depend on their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.rope import rotations
from tests.equivalence import oracle

ROOM = TorchKernels()
ROWS = 70
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Two roundings of the result's type, relative: one in the kernel, one in the formula's input to it.
ROUNDING = {dtype: 2 * torch.finfo(dtype).eps for dtype in DTYPES}


@pytest.fixture(params=[1, 2, 3, 4])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def _drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _linear(width: int, dtype: torch.dtype) -> Callable[[slice], Tensor]:
    x, weight = _drawn(ROWS, width, dtype=dtype), _drawn(88 - width, width, dtype=dtype, seed=1)  # 40 -> 48, 48 -> 40
    return lambda rows: ROOM.linear(x[rows], weight)


def _rms_norm(width: int, dtype: torch.dtype) -> Callable[[slice], Tensor]:
    x, weight = _drawn(ROWS, width, dtype=dtype), _drawn(width, dtype=dtype, seed=1)
    return lambda rows: ROOM.rms_norm(x[rows], weight, 1e-5)


def _swiglu(width: int, dtype: torch.dtype) -> Callable[[slice], Tensor]:
    gate, up = _drawn(ROWS, width, dtype=dtype), _drawn(ROWS, width, dtype=dtype, seed=1)
    return lambda rows: ROOM.swiglu(gate[rows], up[rows])


def _rope(width: int, dtype: torch.dtype) -> Callable[[slice], Tensor]:
    x, positions = _drawn(ROWS, 4, width // 4, dtype=dtype), torch.arange(ROWS) * 37
    return lambda rows: ROOM.rope(x[rows], *rotations(positions[rows], width // 4, 1e4))


KERNELS = {"linear": _linear, "rms_norm": _rms_norm, "swiglu": _swiglu, "rope": _rope}


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("width", [40, 48])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_row_has_the_same_bits_in_any_batch(kernel: str, width: int, dtype: torch.dtype) -> None:
    """Rows 0 up to T together, for every T, and a batch that begins elsewhere: each row as when it comes alone."""
    compute = KERNELS[kernel](width, dtype)
    single = torch.cat([compute(slice(row, row + 1)) for row in range(ROWS)])
    for rows in range(1, ROWS + 1):
        assert torch.equal(compute(slice(rows)), single[:rows]), f"{rows} rows"
    assert torch.equal(compute(slice(5, 43)), single[5:43])


def test_linear_promises_nothing_for_speed() -> None:
    """`row_tile=None` is the plain product: the same numbers, to rounding."""
    x, weight = _drawn(ROWS, 40, dtype=torch.float32), _drawn(48, 40, dtype=torch.float32, seed=1)
    assert torch.equal(TorchKernels(row_tile=None).linear(x, weight), F.linear(x, weight))
    torch.testing.assert_close(ROOM.linear(x, weight), F.linear(x, weight), atol=1e-5, rtol=0)


def test_no_row_at_all() -> None:
    assert ROOM.linear(torch.zeros(0, 40), torch.zeros(48, 40)).shape == (0, 48)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_is_the_product(dtype: torch.dtype) -> None:
    x, weight = _drawn(33, 40, dtype=dtype), _drawn(48, 40, dtype=dtype, seed=1)
    out = ROOM.linear(x, weight)
    assert out.dtype == dtype
    assert (out.double() - x.double() @ weight.double().T).abs().max() < 30 * ROUNDING[dtype]  # the largest entry is about 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_is_the_formula(dtype: torch.dtype) -> None:
    x, weight = _drawn(7, 40, dtype=dtype) * 3, _drawn(40, dtype=dtype, seed=1)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    out = ROOM.rms_norm(x, weight, 1e-5)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected, atol=1e-7, rtol=ROUNDING[dtype])


def test_rms_norm_of_small_and_large_rows() -> None:
    """eps stands inside the root; the mean of squares is taken in fp32, where fp16 would overflow."""
    one = torch.ones(40)
    assert torch.allclose(ROOM.rms_norm(one * 1e-3, one, 1e-6), one / 2**0.5)
    assert torch.equal(ROOM.rms_norm(one.half() * 30_000, one.half(), 1e-5), one.half())


@pytest.mark.parametrize("room", [ROOM, TorchKernels(row_tile=None)], ids=["tiled", "plain"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_is_the_formula(room: TorchKernels, dtype: torch.dtype) -> None:
    gate, up = _drawn(7, 48, dtype=dtype) * 4, _drawn(7, 48, dtype=dtype, seed=1)
    gate[0, :4] = torch.tensor([-100.0, 100.0, 0.0, -1.0])  # exp(100) is past fp32: silu is 0 there, not NaN
    wide = gate.double()
    expected = wide / (1 + torch.exp(-wide)) * up.double()
    out = room.swiglu(gate, up)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=ROUNDING[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("theta", [1e4, 1e6])
def test_rope_is_the_rotation(dtype: torch.dtype, theta: float) -> None:
    x, positions = _drawn(9, 3, 16, dtype=dtype), torch.tensor([0, 1, 2, 3, 100, 4095, 4096, 8191, 32767])
    out = ROOM.rope(x, *rotations(positions, 16, theta))
    assert out.dtype == dtype
    assert torch.equal(out[0], x[0]), "position 0 is not turned"
    torch.testing.assert_close(out.double(), oracle.rotate(x.double(), positions, theta), atol=4 * ROUNDING[dtype], rtol=0)


def test_rope_by_hand() -> None:
    """Two channels have one frequency, 1: at position p the pair (1, 0) is turned to (cos p, sin p)."""
    positions = torch.tensor([0, 1, 5])
    out = ROOM.rope(torch.tensor([1.0, 0.0]).expand(3, 1, 2), *rotations(positions, 2, 1e4))
    torch.testing.assert_close(out[:, 0], torch.stack((positions.float().cos(), positions.float().sin()), 1))


def test_rope_depends_on_distance_alone() -> None:
    q, k = _drawn(1, 1, 16, dtype=torch.float32), _drawn(1, 1, 16, dtype=torch.float32, seed=1)

    def score(query: int, key: int) -> Tensor:
        turned = (ROOM.rope(x, *rotations(torch.tensor([at]), 16, 1e4)) for x, at in ((q, query), (k, key)))
        return torch.stack([x.flatten() for x in turned]).prod(0).sum()

    torch.testing.assert_close(score(17, 4), score(1017, 1004), atol=1e-3, rtol=0)
    assert (score(17, 4) - score(17, 5)).abs() > 1e-2

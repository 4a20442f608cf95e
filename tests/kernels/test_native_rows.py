"""Native norms, rotations, gates and writes: the torch room's values within a bound, the same bits on every set."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.kernels.cache import Pages
from mistral7b.kernels.interface import LowRank
from mistral7b.kernels.torch_room import TorchKernels
from tests.kernels.native import SETS, needs_native, room

pytestmark = needs_native

TORCH = TorchKernels()
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])
# A sum in another order, a root or a power rounded otherwise; in bf16 that may turn one rounding, and the product after it.
CLOSE = {torch.float32: 1e-6, torch.bfloat16: 2**-6}


def _drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype)


@settings(max_examples=40)
@given(rows=st.integers(1, 9), width=st.integers(1, 140), dtype=DTYPES)
def test_rms_norm(rows: int, width: int, dtype: torch.dtype) -> None:
    x, weight = _drawn(rows, width, dtype=dtype), _drawn(width, dtype=dtype, seed=1)
    ours = [room(name, threads).rms_norm(x, weight, 1e-5) for name in SETS for threads in (1, 3)]
    torch.testing.assert_close(ours[0], TORCH.rms_norm(x, weight, 1e-5), atol=1e-6, rtol=CLOSE[dtype])
    assert all(torch.equal(each, ours[0]) for each in ours)
    assert torch.equal(room(SETS[0]).rms_norm(x[-1:], weight, 1e-5), ours[0][-1:])


@settings(max_examples=40)
@given(rows=st.integers(1, 9), heads=st.integers(1, 5), half=st.integers(1, 40), dtype=DTYPES)
def test_rope_is_the_same_to_the_bit(rows: int, heads: int, half: int, dtype: torch.dtype) -> None:
    x, angles = _drawn(rows, heads, 2 * half, dtype=dtype), _drawn(rows, half, dtype=torch.float32, seed=1)
    expected = TORCH.rope(x, angles.cos(), angles.sin())
    for name in SETS:
        assert torch.equal(room(name, 3).rope(x, angles.cos(), angles.sin()), expected)


@settings(max_examples=40)
@given(rows=st.integers(1, 9), width=st.integers(1, 140), dtype=DTYPES)
def test_swiglu(rows: int, width: int, dtype: torch.dtype) -> None:
    gate, up = _drawn(rows, width, dtype=dtype), _drawn(rows, width, dtype=dtype, seed=1)
    gate[0, 0] = -100.0
    ours = [room(name, 3).swiglu(gate, up) for name in SETS]
    torch.testing.assert_close(ours[0], TORCH.swiglu(gate, up), atol=1e-6, rtol=CLOSE[dtype])
    assert all(torch.equal(each, ours[0]) for each in ours)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 300),
    ranks=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    dtype=DTYPES,
    kept=DTYPES,
    data=st.data(),
)
def test_low_rank(
    rows: int, inputs: int, outputs: int, ranks: list[int], dtype: torch.dtype, kept: torch.dtype, data: st.DataObject
) -> None:
    """A row through its adapter, or none, whatever is beside it."""
    adapters = data.draw(st.lists(st.integers(-1, len(ranks) - 1), min_size=rows, max_size=rows), label="adapters")
    scales = torch.zeros(len(ranks) + 1, sum(ranks))
    for number, rank in enumerate(ranks):
        scales[number, sum(ranks[:number]) :][:rank] = 0.5 + number
    a, b = _drawn(sum(ranks), inputs, dtype=kept) / inputs, _drawn(sum(ranks), outputs, dtype=kept, seed=1)
    out, x = _drawn(rows, outputs, dtype=dtype, seed=2), _drawn(rows, inputs, dtype=dtype, seed=3)
    weights, chosen = LowRank(a, b, scales), torch.tensor(adapters)
    ours = [room(name, threads).low_rank(out, x, weights, chosen) for name in SETS for threads in (1, 3)]
    close = 1e-4 if kept == dtype == torch.float32 else 2**-4
    wide = TORCH.low_rank(out.double(), x.double(), LowRank(a.double(), b.double(), scales.double()), chosen)
    torch.testing.assert_close(ours[0].double(), wide, atol=close, rtol=close)
    assert all(torch.equal(each, ours[0]) for each in ours)
    assert torch.equal(ours[0][chosen < 0], out[chosen < 0])
    assert torch.equal(room(SETS[0]).low_rank(out[-1:], x[-1:], weights, chosen[-1:]), ours[0][-1:])
    with pytest.raises(IndexError, match="not there"):
        room(SETS[0]).low_rank(out[:1], x[:1], weights, torch.tensor([len(ranks)]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    x = torch.ones(2, 40)
    x[0, 17] = bad
    weight = torch.ones(40)
    for name in SETS:
        assert not room(name).rms_norm(x, weight, 1e-5)[0].isfinite().all()
        assert not room(name).swiglu(weight.expand(2, -1), x)[0].isfinite().all()


@settings(max_examples=60)
@given(
    rows=st.integers(1, 20),
    heads=st.integers(1, 4),
    channels=st.integers(1, 70),
    dtype=DTYPES,
    cached=st.sampled_from([torch.float32, torch.bfloat16, torch.int8]),
    scale=st.sampled_from([1.0, 1e-3, 1e-29, 1e-33, 1e30]),
    bad=st.sampled_from([None, torch.nan, torch.inf, -torch.inf]),
)
def test_write_is_the_same_to_the_bit(
    rows: int, heads: int, channels: int, dtype: torch.dtype, cached: torch.dtype, scale: float, bad: float | None
) -> None:
    """Into every type of cache, at scattered slots; an int8 head that is not finite has a scale that is no number."""
    x = (_drawn(rows, heads, channels, dtype=torch.float32) * scale).to(dtype)
    x[0, 0] = 0
    if bad is not None:
        x[-1, -1, -1] = bad
    slots = torch.randperm(24, generator=torch.Generator().manual_seed(1))[:rows]

    def written(kernels: TorchKernels) -> Pages:
        numbers = torch.zeros(6, 4, heads, channels, dtype=cached)
        pages = Pages(numbers, torch.zeros(6, 4, heads) if cached == torch.int8 else None)
        kernels.write(x, pages, slots)
        return pages

    expected = written(TORCH)
    for pages in [written(room(name, threads)) for name in SETS for threads in (1, 3)]:
        torch.testing.assert_close(pages.numbers, expected.numbers, atol=0, rtol=0, equal_nan=True)
        if expected.scales is not None:
            torch.testing.assert_close(pages.scales, expected.scales, atol=0, rtol=0, equal_nan=True)


def test_a_slot_the_cache_does_not_have_is_our_mistake() -> None:
    with pytest.raises(IndexError, match="outside the cache"):
        room(SETS[0]).write(torch.ones(1, 1, 4), Pages(torch.zeros(2, 4, 1, 4)), torch.tensor([8]))


def test_int8_rounds_to_the_nearest_of_255_steps() -> None:
    pages = Pages(torch.zeros(1, 1, 1, 4, dtype=torch.int8), torch.zeros(1, 1, 1))
    TORCH.write(torch.tensor([[[-2.54, 1.27, 0.011, 0.0]]]), pages, torch.tensor([0]))
    assert pages.numbers.flatten().tolist() == [-127, 64, 1, 0]
    assert pages.scales is not None
    assert pages.scales.item() == pytest.approx(0.02)

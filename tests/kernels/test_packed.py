"""packed_attention, the training path: the dense oracle's values and gradients, whatever the documents' borders."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.kernels.packed import _QUERY_BLOCK, PackedPlan, packed_attention
from tests.equivalence import oracle

HEADS, KV_HEADS, CHANNELS = 4, 2, 6


def _drawn(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of `rows` rows, float64, that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(rows, heads, CHANNELS, generator=generator, dtype=torch.float64).requires_grad_()
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    )
    return q, k, v


def _positions(lengths: list[int]) -> Tensor:
    return torch.cat([torch.arange(length) for length in lengths])


def _plan(lengths: list[int], window: int | None) -> PackedPlan:
    return PackedPlan.of(_positions(lengths), window, torch.device("cpu"))


def _dense(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], window: int | None) -> Tensor:
    """Document by document through the oracle."""
    pieces = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    return torch.cat([oracle.attention(*piece, oracle.mask(len(piece[0]), window)) for piece in pieces])


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    window=st.sampled_from([1, 2, 5, 31, 128, 1000, None]),
)
@example(lengths=[_QUERY_BLOCK], window=None)
@example(lengths=[_QUERY_BLOCK + 1], window=_QUERY_BLOCK)
@example(lengths=[100, 2 * _QUERY_BLOCK - 101, 30], window=40)
@example(lengths=[2 * _QUERY_BLOCK], window=None)
@example(lengths=[1], window=1)
def test_values_and_gradients(lengths: list[int], window: int | None) -> None:
    rows = sum(lengths)
    ours, theirs = _drawn(rows), _drawn(rows)
    out = packed_attention(*ours, _plan(lengths, window))
    expected = _dense(*theirs, lengths, window)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out.backward(pull)
    expected.backward(pull)
    assert out.shape == (rows, HEADS, CHANNELS)
    torch.testing.assert_close(out, expected, atol=1e-10, rtol=0)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize("window", [4, 50, None])
@pytest.mark.parametrize("probe", [0, 39, 40, 41, 127, 128, 170, 199])
def test_no_gradient_crosses_a_border_or_the_window(window: int | None, probe: int) -> None:
    """Pull at one row: exactly the keys and values it sees feel it, and only its own query."""
    lengths = [40, 110, 50]
    q, k, v = _drawn(200)
    packed_attention(q, k, v, _plan(lengths, window))[probe].square().sum().backward()
    start = max(border for border in (0, 40, 150) if border <= probe)
    oldest = start if window is None else max(start, probe - window + 1)
    seen = list(range(oldest, probe + 1))
    felt = []
    for x in (q, k, v):
        assert x.grad is not None
        felt.append(x.grad.abs().sum((1, 2)).nonzero().flatten().tolist())
    assert felt[2] == seen
    # A row that sees one key gives it weight 1 whatever the score: there nothing but rounding reaches q and k.
    assert felt[0] == [probe] or (len(seen) == 1 and set(felt[0]) <= {probe})
    assert felt[1] == seen or (len(seen) == 1 and set(felt[1]) <= {probe})

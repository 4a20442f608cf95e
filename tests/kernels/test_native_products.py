"""The native products against their plain twins: the portable instruction set bit for bit, the exact product within a bound."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.kernels.native_room import NativeKernels, instruction_sets
from mistral7b.quant.formats import FORMATS, FormatName
from mistral7b.quant.matrix import PackedMatrix, pack
from tests.quant.scalar import codes

USABLE = [name for name, _, here in instruction_sets() if here]
pytestmark = pytest.mark.skipif(not USABLE, reason="built without a C++ compiler: there are no native kernels to test")
ROOMS = {(name, threads): NativeKernels(threads, name) for name in USABLE for threads in (1, 2, 5)}
PLAIN = ROOMS.get(("portable", 1))
NUMBERS = st.sampled_from([torch.float32, torch.bfloat16])
ROOM = st.sampled_from(sorted(ROOMS))


def made(format: FormatName, outputs: int, inputs: int, seed: int = 0) -> PackedMatrix:
    return pack(format, *codes(format, outputs, inputs, seed))


def rows(count: int, inputs: int, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    """Rows of different sizes, some blocks zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, inputs, generator=generator) * torch.logspace(-2, 2, count)[:, None]
    x[::3, : inputs // 2] = 0
    return x.to(dtype)


def exact(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.double() @ weight.double().T


def rounding(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What int8 activations may be off by: half a step of each block of 128, over all its weights; and fp32's own rounding."""
    off = torch.zeros(len(x), len(weight), dtype=torch.float64)
    for start in range(0, x.shape[1], 128):
        block, part = x[:, start : start + 128].double().abs(), weight[:, start : start + 128].double().abs()
        off += block.amax(1, keepdim=True) / 254 * part.sum(1)
    return off * 1.0001 + 1e-5 * (x.double().abs() @ weight.double().abs().T) + 1e-30


@settings(deadline=None, max_examples=60)
@given(
    format=st.sampled_from(sorted(FORMATS)), room=ROOM, count=st.integers(1, 30), outputs=st.integers(1, 70),
    inputs=st.integers(1, 400), dtype=NUMBERS, seed=st.integers(0, 99),
)  # fmt: skip
def test_packed(format: FormatName, room: Any, count: int, outputs: int, inputs: int, dtype: torch.dtype, seed: int) -> None:
    weight, x = made(format, outputs, inputs, seed), rows(count, inputs, dtype, seed)
    y = ROOMS[room].packed_linear(x, weight)
    assert y.shape == (count, outputs)
    assert y.dtype == dtype
    assert PLAIN is not None
    assert torch.equal(y, PLAIN.packed_linear(x, weight))
    dense = weight.dense(torch.float32)
    stored = 0 if dtype == torch.float32 else exact(x, dense).abs() / 128
    assert bool(
        ((y.double() - exact(x, dense)).abs() <= rounding(x, dense) * (1.01 if dtype == torch.bfloat16 else 1) + stored).all()
    )


@settings(deadline=None, max_examples=40)
@given(
    room=ROOM, count=st.integers(1, 40), outputs=st.integers(1, 70), inputs=st.integers(1, 300), dtype=NUMBERS, stored=NUMBERS,
    seed=st.integers(0, 99),
)  # fmt: skip
def test_plain_weights(
    room: Any, count: int, outputs: int, inputs: int, dtype: torch.dtype, stored: torch.dtype, seed: int
) -> None:
    x = rows(count, inputs, dtype, seed)
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)).to(stored)
    y = ROOMS[room].linear(x, weight)
    assert PLAIN is not None
    assert torch.equal(y, PLAIN.linear(x, weight))
    bound = 1e-6 * (x.double().abs() @ weight.double().abs().T) + (exact(x, weight).abs() / 200 if dtype == torch.bfloat16 else 0)
    assert bool(((y.double() - exact(x, weight)).abs() <= bound + 1e-30).all())


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_row_has_the_same_bits_in_any_company(room: Any, format: FormatName) -> None:
    weight, x = made(format, 48, 384), rows(300, 384, torch.bfloat16)
    x[7, 100] = x[290, 5] = 3e4  # these rows bring a remainder, which must not move the others
    together = ROOMS[room].packed_linear(x, weight)
    for count in (1, 2, 3, 4, 5, 6, 7, 12, 13, 23, 257):
        assert torch.equal(ROOMS[room].packed_linear(x[-count:], weight), together[-count:]), count


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_plain_weights_give_the_same_bits_in_any_company(room: Any) -> None:
    weight, x = torch.randn(30, 100).bfloat16(), rows(300, 100, torch.bfloat16)
    together = ROOMS[room].linear(x, weight)
    for count in (1, 2, 3, 4, 6, 7, 17, 257):
        assert torch.equal(ROOMS[room].linear(x[-count:], weight), together[-count:]), count


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_spike_does_not_drown_its_block(room: Any) -> None:
    """As before the down projection (arXiv 2405.14428): one input a thousand times the others."""
    weight = made("int4", 32, 512)
    dense = weight.dense(torch.float32)
    calm = torch.randn(3, 512, generator=torch.Generator().manual_seed(3))
    spiked = calm.clone()
    spiked[:, 130] = 1000.0
    off = (ROOMS[room].packed_linear(spiked, weight).double() - exact(spiked, dense)).abs()
    # No further off than the calm rows may be: a step of the remainder is 1000/127/254.
    assert bool((off <= 1.2 * rounding(calm, dense)).all())
    assert bool((off < 0.1 * rounding(spiked, dense)).all())


@pytest.mark.parametrize("room", sorted(ROOMS))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_stays_in_its_row(room: Any, value: float) -> None:
    weight, x = made("int4", 16, 256), rows(9, 256, torch.float32)
    before = ROOMS[room].packed_linear(x, weight)
    x[4, 200] = value
    after = ROOMS[room].packed_linear(x, weight)
    assert not bool(after[4].isfinite().any())
    assert torch.equal(after[[0, 1, 2, 3, 5, 6, 7, 8]], before[[0, 1, 2, 3, 5, 6, 7, 8]])


@pytest.mark.parametrize("name", USABLE)
def test_memory_need_not_be_aligned(name: str) -> None:
    room, weight = ROOMS[name, 1], made("int5", 32, 256)
    space = torch.empty(weight.blocks.numel() + 1, dtype=torch.uint8)
    space[1:] = weight.blocks.flatten()
    moved = PackedMatrix("int5", (32, 256), space[1:].view(weight.blocks.shape), weight.scales)
    wide = torch.randn(7 * 256 + 1).bfloat16()
    x = wide[1:].view(7, 256)
    assert torch.equal(room.packed_linear(x, moved), room.packed_linear(x.clone(), weight))
    assert torch.equal(
        room.packed_linear(x[:, ::2].repeat(1, 2), weight), room.packed_linear(x[:, ::2].repeat(1, 2).clone(), weight)
    )


def test_calls_from_several_threads_take_turns() -> None:
    room, weight = ROOMS[USABLE[0], 2], made("int4", 256, 256)
    inputs = [rows(5, 256, torch.float32, seed) for seed in range(6)]
    expected = [room.packed_linear(x, weight) for x in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        same = [torch.equal(room.packed_linear(inputs[index], weight), expected[index]) for _ in range(50)]
        wrong.extend([index] * same.count(False))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_unusable_instruction_set_is_named() -> None:
    with pytest.raises(ValueError, match="no kernels named sse9"):
        NativeKernels(1, "sse9")
    for name, needs, here in instruction_sets():
        if not here:
            with pytest.raises(ValueError, match=f"lacks {needs}".replace("(", ".")):
                NativeKernels(1, name)


@settings(deadline=None)
@given(room=ROOM, count=st.integers(1, 1000))
def test_reading_reads_everything(room: Any, count: int) -> None:
    words = torch.randint(-(2**31), 2**31, (count,), dtype=torch.int32)
    assert ROOMS[room].read(words) == int(words.long().sum()) % 2**32

"""Every byte of a packed matrix where the description puts it, and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.quant.formats import BY_BLOCK_BYTES, FORMATS, FormatName, blocks_shape, packed_bytes, padded
from mistral7b.quant.matrix import pack
from tests.quant import scalar

NAMES: list[FormatName] = list(FORMATS)
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 300))


def numpy(tensor: torch.Tensor | None) -> scalar.Ints | None:
    return None if tensor is None else tensor.numpy()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(NAMES), SHAPES, st.integers(0, 2**31))
def test_bytes_stand_as_described(format: FormatName, shape: tuple[int, int], seed: int) -> None:
    q, groups, channels = scalar.codes(format, *shape, seed)
    packed = pack(format, q, groups, channels)
    rows, columns, _ = blocks_shape(FORMATS[format], shape)
    for row in range(rows):
        for column in range(columns):
            found = bytes(packed.blocks[row, column].numpy())
            assert found == scalar.packed_block(format, q.numpy(), numpy(groups), row, column), (row, column)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(NAMES), SHAPES, st.integers(0, 2**31))
def test_what_was_packed_comes_back(format: FormatName, shape: tuple[int, int], seed: int) -> None:
    given = scalar.codes(format, *shape, seed)
    packed = pack(format, *given)
    for before, after in zip(given, packed.codes(), strict=True):
        assert (before is None) == (after is None)
        assert before is None or after is None or torch.equal(before, after)
    expected = torch.from_numpy(scalar.dense(format, given[0].numpy(), numpy(given[1]), numpy(given[2])))
    assert torch.equal(packed.dense(torch.float32), expected)
    assert torch.equal(packed.dense(torch.bfloat16), expected.bfloat16())
    assert packed.nbytes == packed_bytes(FORMATS[format], shape)


@pytest.mark.parametrize("format", NAMES)
def test_rows_packed_in_parts_are_the_same(format: FormatName, monkeypatch: pytest.MonkeyPatch) -> None:
    given = scalar.codes(format, 70, 200, 1)
    whole = pack(format, *given)
    dense = whole.dense(torch.float32)
    monkeypatch.setattr("mistral7b.quant.matrix._AT_ONCE", 5000)  # 16 rows at a time
    assert torch.equal(pack(format, *given).blocks, whole.blocks)
    assert torch.equal(whole.dense(torch.float32), dense)


def test_sizes_are_those_of_the_layout() -> None:
    assert {name: form.block_bytes for name, form in FORMATS.items()} == {
        "int4": 1088, "int5": 1344, "int8": 2048, "q4_0": 1152, "q8_0": 2176,
    }  # fmt: skip
    assert len(BY_BLOCK_BYTES) == len(FORMATS)
    assert all(form.block_bytes % 64 == 0 for form in FORMATS.values())
    assert [form.bits_per_weight for form in FORMATS.values()] == [4.25, 5.25, 8.0, 4.5, 8.5]
    assert padded((17, 129)) == (32, 256)

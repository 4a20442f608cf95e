"""What a GGUF holds keeps its integers and its fp16 scales, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType as Type
from gguf.quants import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.quant.formats import FormatName
from mistral7b.quant.ggml import repack

KINDS: dict[FormatName, tuple[Type, int]] = {"q4_0": (Type.Q4_0, 18), "q8_0": (Type.Q8_0, 34)}


def raw(format: FormatName, rows: int, groups: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Random blocks with finite scales, tiny ones and -0 among them."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (rows, groups, KINDS[format][1]), dtype=np.uint8)
    scales = random.standard_normal((rows, groups)).astype(np.float16)
    scales[random.random((rows, groups)) < 0.2] = np.float16(6e-8)
    scales[random.random((rows, groups)) < 0.1] = np.float16(-0.0)
    blocks[..., :2] = scales[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(KINDS)), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**31))
def test_decodes_as_the_library_does(format: FormatName, rows: int, groups: int, seed: int) -> None:
    held = raw(format, rows, groups, seed)
    packed = repack(format, torch.from_numpy(held), 32 * groups)
    assert torch.equal(packed.dense(torch.float32), torch.from_numpy(dequantize(held, KINDS[format][0])))
    _, scales, channels = packed.codes()
    assert channels is None
    assert scales is not None
    assert np.array_equal(scales.numpy().view(np.uint16), held.reshape(rows, groups, -1)[..., :2].copy().view(np.uint16)[..., 0])


@pytest.mark.parametrize("format", list(KINDS))
def test_rows_in_parts_are_the_same(format: FormatName, monkeypatch: pytest.MonkeyPatch) -> None:
    held = torch.from_numpy(raw(format, 70, 3, 0))
    whole = repack(format, held, 96)
    monkeypatch.setattr("mistral7b.quant.ggml._ROWS", 16)
    assert torch.equal(repack(format, held, 96).blocks, whole.blocks)

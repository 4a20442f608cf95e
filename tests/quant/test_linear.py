"""QuantLinear computes with the decoded matrix, each row for itself, and takes a Linear's place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.quant.formats import FORMATS, FormatName
from mistral7b.quant.linear import QuantLinear, insert
from mistral7b.quant.matrix import pack
from mistral7b.quant.nearest import nearest
from tests.checkpoint import made
from tests.quant import scalar

NAMES: list[FormatName] = list(FORMATS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("format", NAMES)
def test_equals_the_decoded_matrix(format: FormatName, dtype: torch.dtype) -> None:
    packed, kernels = pack(format, *scalar.codes(format, 24, 136, 0)), TorchKernels()
    x = torch.randn(5, 136, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert torch.equal(QuantLinear(packed, kernels)(x), kernels.linear(x, packed.dense(dtype)))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 50), st.data())
def test_a_row_has_the_same_bits_alone_and_in_a_crowd(format: FormatName, rows: int, data: st.DataObject) -> None:
    module = QuantLinear(pack(format, *scalar.codes(format, 40, 64, 3)), TorchKernels())
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows))
    row = data.draw(st.integers(0, rows - 1))
    assert torch.equal(module(x)[row], module(x[row : row + 1])[0])


def test_a_network_computes_with_what_was_inserted() -> None:
    kernels, weights = TorchKernels(), made.weights(dtype=torch.float32)
    matrices = {name: nearest(w, "int8") for name, w in weights.items() if w.dim() == 2 and "embed" not in name}
    plain, packed = Transformer(made.SMALL, kernels), Transformer(made.SMALL, kernels)
    plain.load_state_dict(weights | {name: matrix.dense(torch.float32) for name, matrix in matrices.items()})
    packed.load_state_dict({name: w for name, w in weights.items() if name not in matrices} | insert(packed, matrices, kernels))
    batch = TokenBatch.pack([Span([1, 5, 9, 2], 0, None, "all")])
    with torch.inference_mode():
        assert torch.equal(packed(batch), plain(batch))
    assert not any(isinstance(module, nn.Linear) for module in packed.modules())
    assert {name for name in packed.state_dict() if name.endswith("blocks")} == {
        name.removesuffix("weight") + "blocks" for name in matrices
    }

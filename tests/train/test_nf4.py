"""NF4: what bitsandbytes rounds, computed from as any packed matrix is."""

from __future__ import annotations

import pytest
import torch

from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.train.nf4 import NF4Linear, NF4Matrix


@pytest.fixture
def matrix() -> tuple[torch.Tensor, NF4Matrix]:
    torch.manual_seed(1)
    weight = torch.randn(48, 128)
    return weight, NF4Matrix.of(weight)


def test_a_weight_comes_back_near(matrix: tuple[torch.Tensor, NF4Matrix]) -> None:
    weight, packed = matrix
    assert packed.blocks.nbytes * 2 == weight.numel()
    error = (packed.dense(torch.float32) - weight).norm() / weight.norm()
    assert 0.05 < error < 0.12


def test_a_projection_passes_gradients_through_the_dense_matrix(matrix: tuple[torch.Tensor, NF4Matrix]) -> None:
    _, packed = matrix
    module = NF4Linear(packed, TrainingKernels())
    x = torch.randn(5, 128, requires_grad=True)
    out = module(x)
    dense = packed.dense(torch.float32)
    torch.testing.assert_close(out, x @ dense.T)
    out.backward(pull := torch.randn_like(out))
    torch.testing.assert_close(x.grad, pull @ dense)

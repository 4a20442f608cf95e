"""The factor in place is the library's; what stands above the diagonal survives it."""

from __future__ import annotations

import pytest
import torch

from mistral7b.quantize import cholesky
from mistral7b.quantize.cholesky import cholesky_, damped_cholesky_


def positive(size: int, rows: int | None = None) -> torch.Tensor:
    x = torch.randn(rows or 2 * size, size, generator=torch.Generator().manual_seed(size))
    return x.T @ x / len(x)


@pytest.mark.parametrize("size", [1, 7, 8, 20, 33])
def test_equals_the_library(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "_BLOCK", 8)
    matrix = positive(size)
    made = matrix.clone()
    assert cholesky_(made)
    torch.testing.assert_close(made.tril(), torch.linalg.cholesky(matrix), rtol=1e-4, atol=1e-5)
    assert torch.equal(made.triu(1), matrix.triu(1))


def test_damping_grows_until_it_is_positive_definite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "_BLOCK", 8)
    matrix = positive(20)
    matrix[12, 12] = -0.05  # about a twentieth of the others
    whole = matrix.clone()
    damping = damped_cholesky_(matrix, 0.001)
    assert damping > 0.04
    whole.diagonal().add_(damping * whole.diagonal().mean())
    torch.testing.assert_close(matrix.tril(), torch.linalg.cholesky(whole), rtol=1e-3, atol=1e-4)

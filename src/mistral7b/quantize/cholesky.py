"""A Cholesky factor in the matrix's own memory: of a 7B's down projection the matrix alone takes 0.8 GB."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 512


def cholesky_(matrix: Tensor) -> bool:
    """Puts L, where `matrix` = L L^T, symmetric and positive definite, into its lower triangle; the strict upper one stays.

    Right-looking, by blocks. False if it is not positive definite in its precision; the lower triangle is then undefined.
    """
    size = len(matrix)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        corner = matrix[start:end, start:end]
        factor, failed = torch.linalg.cholesky_ex(corner)  # reads the lower triangle only
        if int(failed) or not bool(factor.isfinite().all()):
            return False
        corner.copy_(corner.triu(1) + factor)
        below = torch.linalg.solve_triangular(factor.mT, matrix[end:, start:end], upper=True, left=False)
        matrix[end:, start:end] = below
        for at in range(end, size, _BLOCK):
            stop = min(at + _BLOCK, size)
            panel = below[at - end : stop - end]
            matrix[at:stop, at:stop] -= (panel @ panel.mT).tril()
            matrix[stop:, at:stop].addmm_(below[stop - end :], panel.mT, alpha=-1)
    return True


def damped_cholesky_(matrix: Tensor, damping: float) -> float:
    """`cholesky_` after `damping` times the mean diagonal is added to it; tenfold as often as it takes. Returns what it took."""
    diagonal = matrix.diagonal().clone()
    while True:
        matrix.diagonal().copy_(diagonal + damping * diagonal.mean())
        if cholesky_(matrix):
            return damping
        damping *= 10
        assert damping < 1e6, "damped to a multiple of the identity, and still not positive definite"
        _restore_lower(matrix)


def _restore_lower(matrix: Tensor) -> None:
    """The strict lower triangle from the upper one."""
    for start in range(0, len(matrix), _BLOCK):
        end = min(start + _BLOCK, len(matrix))
        corner = matrix[start:end, start:end]
        corner.copy_(corner.triu(1) + corner.triu(1).mT)
        matrix[end:, start:end] = matrix[start:end, end:].mT

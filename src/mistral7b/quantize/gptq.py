"""GPTQ (arXiv 2210.17323): weights rounded one input after the other, each error made good by the inputs still to come.

With H the mean of x x^T over a calibration and E the errors W - V of the rounded V, the loss tr(E H E^T) for H = L L^T is the
sum over inputs k of L_kk^2 times |E_k + sum over j > k of E_j L_jk / L_kk|^2. Rounding from the last input to the first, the
best V_k is what is nearest to W_k + sum over j > k of E_j L_jk / L_kk: GPTQ without an inverse (arXiv 2307.13304 shows that the
two are one). The inputs that matter most come first ("act order"), their scales stand before (static groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mistral7b.errors import NumericError
from mistral7b.quant.formats import FORMATS, GROUP_INPUTS, FormatName, PackedFormat
from mistral7b.quant.matrix import PackedMatrix, pack
from mistral7b.quant.nearest import inverse_of, search
from mistral7b.quantize.cholesky import damped_cholesky_

DAMPING = 0.01  # share of the mean diagonal that is added to it
_ROWS = 4096  # channels rounded together; each is its own problem
_INPUTS = 128  # inputs between two products with all that came before


class Hessian:
    """The sum of x x^T over a calibration's inputs of K channels, fp32."""

    def __init__(self, inputs: int) -> None:
        self._sum = torch.zeros(inputs, inputs)
        self._rows = 0

    def add(self, x: Tensor) -> None:
        """Rows `[T, K]`, fp32."""
        self._sum.addmm_(x.T, x)
        self._rows += len(x)

    def factor(self, damping: float = DAMPING) -> Factor:
        """Its factor, in its memory: the Hessian is used up. Raises NumericError if an input was not finite."""
        matrix = self._sum.div_(self._rows)
        self._sum = torch.empty(0)
        if not bool(matrix.isfinite().all()):
            raise NumericError(
                "the activations of the calibration are not finite; look for damaged weights with mistral7b verify"
            )
        diagonal = matrix.diagonal()
        diagonal[diagonal == 0] = 1  # an input that never stirs: any weight will do
        order = diagonal.argsort(stable=True)
        matrix = matrix[order]
        for rows in matrix.split(_INPUTS):
            rows.copy_(rows[:, order])
        damped_cholesky_(matrix, damping)
        pivots = matrix.diagonal().clone()
        matrix.div_(pivots)
        return Factor(matrix, order)


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """`lower` `[K, K]`: L_jk / L_kk below the diagonal (what stands above means nothing), for the inputs `order` `[K]`, the
    least important first."""

    lower: Tensor
    order: Tensor


def gptq(weight: Tensor, format: FormatName, factor: Factor) -> PackedMatrix:
    """`weight` `[N, K]`, finite, in any dtype, as int4, int5 or int8, its errors compensated under `factor`."""
    form = FORMATS[format]
    q, groups, channels = [], [], []
    for rows in weight.split(_ROWS):
        # Not weighted by importance: what an important input loses is made good, and on `tiny` that came out ahead.
        found = search(rows.float(), form)
        q.append(_compensated(rows.float(), form, found.each(), factor))
        channels.append(found.channels)
        if found.groups is not None:
            groups.append(found.groups)
    return pack(format, torch.cat(q), torch.cat(groups) if groups else None, torch.cat(channels))


def _compensated(weight: Tensor, form: PackedFormat, each: Tensor, factor: Factor) -> Tensor:
    """The integers int8 `[N, K]`; `each` are the steps `[N, groups]`, or `[N, 1]`. Works on inputs as rows."""
    order, lower, count = factor.order, factor.lower, weight.shape[1]
    left = weight.T[order]
    errors, q = torch.empty_like(left), torch.empty(left.shape, dtype=torch.int8)
    steps = each.T.contiguous()
    inverse = inverse_of(steps)
    group_of = (order // GROUP_INPUTS if len(steps) > 1 else torch.zeros_like(order)).tolist()
    for end in range(count, 0, -_INPUTS):
        start = max(0, end - _INPUTS)
        wanted = torch.addmm(left[start:end], lower[end:, start:end].T, errors[end:])
        for at in range(end - 1, start - 1, -1):
            group = group_of[at]
            level = (wanted[at - start] * inverse[group]).round_().clamp_(form.low, form.high)
            q[at] = level
            error = torch.addcmul(left[at], level, steps[group], value=-1, out=errors[at])
            wanted[: at - start].addr_(lower[at, start:at], error)
    back = torch.empty(weight.shape, dtype=torch.int8)
    back[:, order] = q.T
    return back

"""A packed matrix plus a low-rank change, packed again on the levels it has.

The change is a small part of a step, so rounding to nearest would take every weight back to where it was. But a change B A
reads its inputs only through the rows of A: what must come out right is the product with those few directions. So weights are
rounded one input after the other, and each makes good, along A, what the errors before it did. With E the errors so far, Q
orthonormal rows that span A's, u = E Q^T and q_k the columns of Q, the loss lambda |E|^2 + |E Q^T|^2 asks of the next weight the
error -u (lambda I + sum over j >= k of q_j q_j^T)^-1 q_k: GPTQ (arXiv 2210.17323) for the Hessian lambda I + Q^T Q, which has an
inverse that needs no K x K matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mistral7b.quant.formats import FORMATS, GROUP_INPUTS
from mistral7b.quant.matrix import PackedMatrix, pack

_LAMBDA = 0.1  # as a share of the mean |q_k|^2: less flips more weights, more loses of the change


def shifted(packed: PackedMatrix, b: Tensor, a: Tensor, *, weight: float = _LAMBDA) -> PackedMatrix:
    """`packed` `[N, K]` plus b `[N, r]` times a `[r, K]`, both fp32, with the scales of `packed`. `weight` is lambda, as a share
    of the mean |q_k|^2."""
    form = FORMATS[packed.format]
    q, groups, channels = packed.codes()
    steps = torch.ones(len(q), 1) if groups is None else groups.float()
    steps = (steps if channels is None else steps * channels[:, None]).T.contiguous()
    inverse = torch.where(steps > 0, 1 / steps, 0.0)
    directions = torch.linalg.qr(a.T)[0]  # [K, r]
    pulls = _pulls(directions.double(), weight * directions.shape[1] / len(directions)).float()
    change, levels = (b @ a).T.contiguous(), q.T.contiguous()  # [K, N]
    made, missed = torch.empty_like(levels), torch.zeros(directions.shape[1], len(q))
    for k in range(len(levels)):
        group = k // GROUP_INPUTS if len(steps) > 1 else 0
        wanted = torch.mv(missed.T, pulls[k]).neg_().add_(change[k])
        moved = wanted.mul_(inverse[group]).add_(levels[k]).round_().clamp_(form.low, form.high)
        made[k] = moved
        missed.addr_(directions[k], (moved - levels[k]).mul_(steps[group]).sub_(change[k]))
    return pack(packed.format, made.T.contiguous(), groups, channels)


def _pulls(directions: Tensor, weight: float) -> Tensor:
    """(weight I + sum over j >= k of q_j q_j^T)^-1 q_k for each row q_k of `directions` `[K, r]` (Sherman and Morrison)."""
    pulls = torch.empty_like(directions)
    held = torch.eye(directions.shape[1], dtype=directions.dtype) / weight
    for k in range(len(directions) - 1, -1, -1):
        along = held @ directions[k]
        pulls[k] = along / (1 + directions[k] @ along)
        held.addr_(along, pulls[k], alpha=-1)
    return pulls

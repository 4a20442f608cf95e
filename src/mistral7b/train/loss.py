"""Cross-entropy of the next token, summed, that never holds all logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # the target of a row that has none, as torch's own losses have it
CHUNK_BYTES = 16 << 20  # of fp32 logits at once


class Loss(NamedTuple):
    """Sums over the rows with a target: `total` is differentiable and holds the z-loss, `nll` (nats) does not; both fp32."""

    total: Tensor
    nll: Tensor


def next_token_loss(
    states: Tensor, head: Tensor, targets: Tensor, *, z_loss: float = 0.0, group: dist.ProcessGroup | None = None
) -> Loss:
    """Loss of states `[T, dim]` under a head `[V, dim]` against targets `[T]` (IGNORED: no target).

    Rows go through in chunks, whose gradient is made while their logits are at hand. `z_loss` times the squared logarithm
    of the softmax's denominator keeps logits from drifting (PaLM, arXiv 2204.02311, section 5). With a `group` each of its
    ranks holds an equal run of the head's rows, in the order of ranks, and all of the states.
    """
    wanted = torch.is_grad_enabled() and (states.requires_grad or head.requires_grad)
    total, nll = _NextTokenLoss.apply(states, head, targets, z_loss, group, wanted)  # type: ignore[no-untyped-call]
    return Loss(total, nll)


class _NextTokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, head: Tensor, targets: Tensor, z_loss: float, group: dist.ProcessGroup | None, wanted: bool
    ) -> tuple[Tensor, Tensor]:
        first = 0 if group is None else dist.get_rank(group) * len(head)
        total, nll = (torch.zeros((), dtype=torch.float32, device=states.device) for _ in range(2))
        d_states = torch.empty_like(states) if wanted else None
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if wanted else None
        chunk = max(16, CHUNK_BYTES // (4 * len(head)))
        for start in range(0, len(states), chunk):
            rows, aims = states[start : start + chunk], targets[start : start + chunk]
            keep = aims >= 0
            logits = F.linear(rows, head).float()
            local = aims - first
            ours = keep & (local >= 0) & (local < len(head))
            picked = local.clamp(0, len(head) - 1)[:, None]
            aimed = logits.gather(1, picked)[:, 0] * ours
            log_sum = _log_sum(logits, group)
            if group is not None:
                dist.all_reduce(aimed, group=group)
            nll += ((log_sum - aimed) * keep).sum()
            total += ((log_sum - aimed + z_loss * log_sum.square()) * keep).sum()
            if d_states is None or d_head is None:
                continue
            slope = logits.sub_(log_sum[:, None]).exp_()
            slope *= (1 + 2 * z_loss * log_sum)[:, None]
            slope.scatter_add_(1, picked, -ours[:, None].to(slope.dtype))
            slope = (slope * keep[:, None]).to(rows.dtype)
            d_states[start : start + chunk] = slope @ head
            d_head += slope.T @ rows
        if d_states is not None and group is not None:
            dist.all_reduce(d_states, group=group)
        ctx.save_for_backward(d_states, None if d_head is None else d_head.to(head.dtype))
        ctx.mark_non_differentiable(nll)
        return total, nll

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        d_states, d_head = ctx.saved_tensors
        return d_states * grad, d_head * grad, None, None, None, None


def _log_sum(logits: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The logarithm of each row's sum of exponentials, over the columns of all ranks: `[T]`."""
    if group is None:
        return logits.logsumexp(1)
    top = logits.amax(1)
    dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    sums = (logits - top[:, None]).exp().sum(1)
    dist.all_reduce(sums, group=group)
    return top + sums.log()

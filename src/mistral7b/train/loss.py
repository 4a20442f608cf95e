"""Cross-entropy of the next token, summed, that never holds all logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 8 << 20  # of fp32 logits at once: on a CPU what its caches still help with
WIDE_CHUNK_BYTES = 256 << 20  # elsewhere: enough rows to fill the device, and to pass seldom over the head's gradient


def chunk_bytes(device: str) -> int:
    """Bytes of fp32 logits at once on a type of device."""
    return CHUNK_BYTES if device == "cpu" else WIDE_CHUNK_BYTES


def with_target(targets: Tensor) -> Tensor:
    """The rows of `targets` `[T]` that have one. Where they lie on the CPU no device is waited for."""
    return (targets >= 0).nonzero()[:, 0]


class Loss(NamedTuple):
    """Sums over the rows with a target: `total` is differentiable and holds the z-loss, `nll` (nats) does not; both fp32."""

    total: Tensor
    nll: Tensor


def next_token_loss(
    states: Tensor, head: Tensor, targets: Tensor, *, z_loss: float = 0.0, group: dist.ProcessGroup | None = None
) -> Loss:
    """Loss of states `[T, dim]` under a head `[V, dim]` against targets `[T]` (data.pack.IGNORED: no target) on the CPU.

    Rows with a target, often few of an example's, go through in chunks, whose gradient is made while their logits are at
    hand. `z_loss` times the squared logarithm of the softmax's denominator keeps logits from drifting (PaLM, arXiv 2204.02311,
    section 5). With a `group` each of its ranks holds an equal run of the head's rows, in the order of ranks, and all of the
    states.
    """
    aimed = with_target(targets)
    if len(aimed) < len(targets):
        states, targets = states.index_select(0, aimed.to(states.device)), targets[aimed]
    wanted = tuple(torch.is_grad_enabled() and x.requires_grad for x in (states, head))
    total, nll = _NextTokenLoss.apply(states, head, targets.to(states.device), z_loss, group, wanted)  # type: ignore[no-untyped-call]
    return Loss(total, nll)


class _NextTokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        head: Tensor,
        targets: Tensor,
        z_loss: float,
        group: dist.ProcessGroup | None,
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor]:
        first = 0 if group is None else dist.get_rank(group) * len(head)
        total, nll = (torch.zeros((), dtype=torch.float32, device=states.device) for _ in range(2))
        d_states = torch.empty_like(states) if any(wanted) else None
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if wanted[1] else None
        products = _Products(states, head)
        for start in range(0, len(states), products.rows):
            rows, aims = (x[start : start + products.rows] for x in (states, targets))
            logits = products.logits(rows)
            local = aims - first
            ours = (local >= 0) & (local < len(head))
            picked = local.clamp(0, len(head) - 1)[:, None]
            aimed = logits.gather(1, picked)[:, 0] * ours
            log_sum, slope = _softmax(logits, group)
            if group is not None:
                dist.all_reduce(aimed, group=group)
            nll += (log_sum - aimed).sum()
            total += (log_sum - aimed + z_loss * log_sum.square()).sum()
            if d_states is None:
                continue
            if z_loss:
                slope *= (1 + 2 * z_loss * log_sum)[:, None]
            slope.scatter_add_(1, picked, -ours[:, None].to(slope.dtype))
            narrow = slope.to(rows.dtype)
            d_states[start : start + products.rows] = narrow @ head
            if d_head is not None:
                products.add(d_head, narrow, rows)
        if d_states is not None and group is not None:
            dist.all_reduce(d_states, group=group)
        ctx.save_for_backward(d_states, None if d_head is None else d_head.to(head.dtype))
        ctx.mark_non_differentiable(nll)
        return total, nll

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        """In place: a second backward pass finds its tensors changed, and raises."""
        d_states, d_head = ctx.saved_tensors
        return d_states.mul_(grad), None if d_head is None else d_head.mul_(grad), None, None, None, None


class _Products:
    """Products with the head in chunks of `rows`; those in fp32 into one and the same memory: fresh pages cost more than they."""

    def __init__(self, states: Tensor, head: Tensor) -> None:
        self.rows = max(16, chunk_bytes(states.device.type) // (4 * len(head)))
        self._head = head
        self._plain = states.dtype == head.dtype == torch.float32 and not torch.is_autocast_enabled(states.device.type)
        self._held = states.new_empty(min(self.rows, len(states)), len(head)) if self._plain else None

    def logits(self, rows: Tensor) -> Tensor:
        """fp32 `[rows, V]`, good until the next call."""
        if self._held is None:
            return F.linear(rows, self._head).float()
        return torch.mm(rows, self._head.T, out=self._held[: len(rows)])

    def add(self, total: Tensor, slope: Tensor, rows: Tensor) -> None:
        """slope^T rows to `total` `[V, dim]`."""
        if self._plain:
            total.addmm_(slope.T, rows)
        else:
            total += slope.T @ rows


def _softmax(logits: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor]:
    """(The logarithm of each row's sum of exponentials over the columns of all ranks `[T]`, the softmax in the logits' place)."""
    top = logits.amax(1)
    if group is not None:
        dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    logits.sub_(top[:, None]).exp_()
    sums = logits.sum(1)
    if group is not None:
        dist.all_reduce(sums, group=group)
    return top + sums.log(), logits.div_(sums[:, None])

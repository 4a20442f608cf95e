"""Attention of packed documents over themselves: query blocks over the keys they see, never a T x T tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mistral7b.kernels.interface import visible

_QUERY_BLOCK = 128


@dataclass(frozen=True)
class PackedPlan:
    """What the blocks of a batch see, the same in every layer. Block b holds queries B * b up to B * (b + 1).

    `table` int64 `[blocks, 2]` on the CPU: the oldest key row that any query of the block sees, and where in `biases` its
    rows x keys numbers begin, 0 for what is seen and -inf for what is not. Blocks that see alike share them.
    """

    table: Tensor
    biases: Tensor

    @classmethod
    def of(cls, positions: Tensor, window: int | None, device: torch.device) -> PackedPlan:
        """The plan for `positions` `[T]` on the CPU, which restart at 0 with each document."""
        row, first = torch.arange(len(positions)), oldest_seen(positions, window)
        table, biases, begins, size = [], [], dict[bytes, int](), 0
        for start in range(0, len(row), _QUERY_BLOCK):
            rows = row[start : start + _QUERY_BLOCK]
            low = int(first[start])  # the oldest key of a block is its first query's
            key = ((first[start : start + _QUERY_BLOCK] - low).numpy().tobytes()) + bytes(str(start - low), "ascii")
            if key not in begins:
                bias = _bias(rows, row[low : start + len(rows)], first[start : start + len(rows)], window)
                begins[key] = size
                biases.append(bias)
                size += len(bias)
            table.append((low, begins[key]))
        return cls(torch.tensor(table), torch.cat(biases).to(device))


def oldest_seen(positions: Tensor, window: int | None) -> Tensor:
    """Of each row of `positions` `[T]` the oldest row that it sees, `[T]`: never less than the row before's."""
    row = torch.arange(len(positions))
    first = row - positions  # of each row's document
    return first if window is None else torch.maximum(first, row - window + 1)


def _bias(queries: Tensor, keys: Tensor, first: Tensor, window: int | None) -> Tensor:
    seen = visible(queries[:, None], keys, window) & (keys >= first[:, None])
    return torch.zeros(seen.shape).masked_fill_(~seen, float("-inf")).flatten()


def packed_attention(q: Tensor, k: Tensor, v: Tensor, plan: PackedPlan) -> Tensor:
    """Differentiable attention for training; shapes as in `Kernels.attention`.

    Rows are cut into blocks of B queries. A block reads the S <= B + W - 1 keys from the first that any of its queries sees;
    what lies in another document or outside the window is masked. Kept for the backward pass: the arguments, the result and
    one number a row and head; scores are made again, B x S of a head at a time.
    """
    # As an operator of torch's it is one node of a compiled graph; but calling one imports the compiler, 70 MB and seconds.
    apply: Any = _forward if torch.compiler.is_compiling() else _Packed.apply
    out: Tensor = apply(q, k, v, plan.table, plan.biases)[0]
    return out


def _heads(x: Tensor, kv_heads: int) -> Tensor:
    """`[B, H, D]` as `[H / G, G, B, D]`, a view: of the queries of one KV head each stands in another batch."""
    split: Tensor = x.unflatten(1, (kv_heads, -1))
    return split.permute(2, 1, 0, 3)


def _keys(x: Tensor, per_kv: int) -> Tensor:
    """`[S, G, D]` as `[H / G, G, S, D]`, a view of the same memory for each."""
    return x.transpose(0, 1).expand(per_kv, -1, -1, -1)


def _joined(x: Tensor) -> Tensor:
    """The inverse of `_heads`, a view."""
    return x.permute(2, 1, 0, 3).flatten(1, 2)


class _Blocks:
    """The blocks of a plan, as slices of its batch."""

    def __init__(self, q: Tensor, k: Tensor, table: Tensor, biases: Tensor) -> None:
        self.kv_heads, self.per_kv = k.shape[1], q.shape[1] // k.shape[1]
        self.rows, self.table = len(q), table.tolist()
        self.biases = biases.to(q.dtype)

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """(Query rows, key rows, bias `[1, 1, B, S]`)."""
        for b, (low, begin) in enumerate(self.table):
            start, end = b * _QUERY_BLOCK, min((b + 1) * _QUERY_BLOCK, self.rows)
            shape = (1, 1, end - start, end - low)
            yield slice(start, end), slice(low, end), self.biases[begin : begin + shape[2] * shape[3]].view(shape)


def _all_blocks(q: Tensor, k: Tensor, v: Tensor, table: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    """(`[T, H, D]`, the logarithm of each softmax's denominator, fp32 or wider `[T, H]`)."""
    out, log_sums = _results(q)
    blocks = _Blocks(q, k, table, biases)
    for rows, keys, bias in blocks:
        queries, seen_k, seen_v = _heads(q[rows], blocks.kv_heads), _keys(k[keys], blocks.per_kv), _keys(v[keys], blocks.per_kv)
        part, log_sum = _attend(queries, seen_k, seen_v, bias)
        out[rows] = _joined(part)
        log_sums[rows] = _joined(log_sum[..., None])[..., 0]
    return out, log_sums


def _all_blocks_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sums: Tensor, table: Tensor, biases: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    d_q = torch.empty_like(q, memory_format=torch.contiguous_format)
    d_k, d_v = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (k, v))
    blocks = _Blocks(q, k, table, biases)
    for rows, keys, bias in blocks:
        of_q, of_k, of_v = _attend_backward(
            _heads(grad[rows], blocks.kv_heads),
            _heads(q[rows], blocks.kv_heads),
            _keys(k[keys], blocks.per_kv),
            _keys(v[keys], blocks.per_kv),
            _heads(out[rows], blocks.kv_heads),
            _heads(log_sums[rows, :, None], blocks.kv_heads)[..., 0],
            bias,
        )
        d_q[rows] = _joined(of_q)
        d_k[keys] += of_k.sum(0).transpose(0, 1)
        d_v[keys] += of_v.sum(0).transpose(0, 1)
    return d_q, d_k, d_v


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """q `[H / G, G, B, D]` over k and v `[H / G, G, S, D]`: (result, log of the denominators `[H / G, G, B]`)."""
    if q.device.type == "cpu":
        found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=bias)
        return found
    scores = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5 + bias
    log_sum = scores.logsumexp(-1)
    return ((scores - log_sum[..., None]).exp() @ v.float()).type_as(q), log_sum


def _attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sum: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if q.device.type == "cpu":
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, log_sum.contiguous(), 0.0, False, attn_mask=bias
        )
        return found
    scale = q.shape[-1] ** -0.5
    wide_grad, wide_q, wide_k = grad.float(), q.float(), k.float()
    weights = ((wide_q @ wide_k.transpose(-1, -2)) * scale + bias - log_sum[..., None]).exp()
    slope = weights * (wide_grad @ v.float().transpose(-1, -2) - (wide_grad * out.float()).sum(-1, keepdim=True)) * scale
    d_v = weights.transpose(-1, -2) @ wide_grad
    return (slope @ wide_k).type_as(q), (slope.transpose(-1, -2) @ wide_q).type_as(k), d_v.type_as(v)


def _results(q: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(q.dtype, torch.float32)
    return torch.empty_like(q, memory_format=torch.contiguous_format), q.new_empty(q.shape[:2], dtype=wide)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output, *inputs[3:])
    ctx.mark_non_differentiable(output[1])


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        found = _all_blocks(*inputs)
        _keep(ctx, inputs, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        return (*_all_blocks_backward(grad, *ctx.saved_tensors), None, None)


_forward = torch.library.custom_op("mistral7b::packed_attention", _all_blocks, mutates_args=())
_backward = torch.library.custom_op("mistral7b::packed_attention_backward", _all_blocks_backward, mutates_args=())


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, table: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _results(q)


@_backward.register_fake
def _(_: Tensor, q: Tensor, k: Tensor, v: Tensor, *__: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_q, d_k, d_v = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    return d_q, d_k, d_v


def _pull_back(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return (*_backward(grad.contiguous(), *ctx.saved_tensors), None, None)


_forward.register_autograd(_pull_back, setup_context=_keep)

"""Attention of packed documents over themselves: query blocks over window slices, never a T x T tensor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.kernels.interface import visible

_QUERY_BLOCK = 128


def packed_attention(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, window: int | None) -> Tensor:
    """Differentiable attention for training; shapes as in `Kernels.attention`, memory O(T x (window + block)).

    Rows are cut into blocks of B queries. Block b looks back over the S rows that any of its queries may see, so all
    blocks are one batched product; what lies in another document or outside the window is masked.
    """
    rows, channels = q.shape[0], q.shape[2]
    block = min(_QUERY_BLOCK, rows)
    reach = rows - 1 if window is None else min(window, rows) - 1
    span, count = reach + block, -(-rows // block)
    tail = count * block - rows
    row = torch.arange(count * block, device=q.device)
    start = F.pad(row[:rows] - positions, (0, tail), value=rows)
    query_rows = row.view(count, block, 1)
    key_rows = (torch.arange(count, device=q.device)[:, None] * block - reach + torch.arange(span, device=q.device))[:, None]
    seen = visible(query_rows, key_rows, window) & (key_rows >= start.view(count, block, 1))
    # A padded row sees itself, so that its softmax is defined; it is cut off below.
    seen = seen | (query_rows == key_rows)
    queries = F.pad(q, (0, 0, 0, 0, 0, tail)).view(count, block, -1, channels).transpose(1, 2)
    keys, values = (F.pad(x, (0, 0, 0, 0, reach, tail)).unfold(0, span, block).permute(0, 1, 3, 2) for x in (k, v))
    repeat = q.shape[1] // k.shape[1]
    keys, values = keys.repeat_interleave(repeat, 1), values.repeat_interleave(repeat, 1)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen[:, None])
    return out.transpose(1, 2).flatten(0, 1)[:rows]

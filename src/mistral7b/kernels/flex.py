"""Attention of packed documents on CUDA: FlexAttention over the blocks that its queries see, compiled, backward pass included.

Compiled anew for each length, since for any length at once torch's compiler may never end; so lengths are powers of two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.kernels.interface import visible
from mistral7b.kernels.packed import oldest_seen

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128  # FlexAttention's own default, for queries and keys
_LEAST = 256  # rows
_KEPT = 64  # compilations: a length may have two, with keys that need a gradient and with keys that need none


@dataclass(frozen=True)
class FlexPlan:
    """What the blocks of a batch see, the same in every layer: blocks x blocks numbers and a row of T, never T x T.

    `spare` rows of zeros, which nobody reads, make the length a power of two.
    """

    mask: BlockMask
    spare: int

    @classmethod
    def of(cls, positions: Tensor, window: int | None, device: torch.device) -> FlexPlan:
        """The plan for `positions` `[T]` on the CPU, which restart at 0 with each document."""
        from torch.nn.attention.flex_attention import BlockMask

        spare = max(_LEAST, 1 << (len(positions) - 1).bit_length()) - len(positions)
        positions = torch.cat((positions, torch.arange(spare) % BLOCK))  # short documents, which cost next to nothing
        rows = len(positions)
        partial, full = _blocks(oldest_seen(positions, window))
        (seen, which), (all_seen, which_all) = (_listed(kinds, device) for kinds in (partial, full))
        first = torch.arange(rows) - positions  # of each row's document
        rule = mask_rule(first.to(device), window)
        mask = BlockMask.from_kv_blocks(
            seen, which, all_seen, which_all, BLOCK_SIZE=BLOCK, mask_mod=rule, seq_lengths=(rows, rows)
        )  # fmt: skip
        return cls(mask, spare)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Shapes as in `Kernels.attention`."""
        batched = [F.pad(x, (0, 0, 0, 0, 0, self.spare)).transpose(0, 1)[None] for x in (q, k, v)]
        out = _function(q.device.type)(*batched, block_mask=self.mask, enable_gqa=True)
        found: Tensor = out[0].transpose(0, 1)[: len(q)]
        return found


def mask_rule(first: Tensor, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The attention rule as FlexAttention asks for it, by rows of the batch: within a document rows are as far apart as
    positions, and no key is older than the document's `first` row `[T]`."""

    def rule(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return torch.logical_and(visible(query, key, window), key >= first[query])

    return rule


def _blocks(oldest: Tensor) -> tuple[Tensor, Tensor]:
    """Which blocks of keys a block of queries sees in part and which wholly: bool `[blocks, blocks]` each.

    `oldest` `[T]` never falls, so that a block's first query sees furthest back, and its last the least far.
    """
    starts = torch.arange(0, len(oldest), BLOCK)
    ends = (starts + BLOCK).clamp(max=len(oldest))
    reached = ends[None, :] > oldest[starts][:, None]
    seen = reached & (starts[None, :] <= starts[:, None])
    full = (starts[None, :] >= oldest[ends - 1][:, None]) & (starts[None, :] < starts[:, None])
    return seen & ~full, full


def _listed(kinds: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """int32 `[1, 1, blocks]`, how many blocks each row has, and `[1, 1, blocks, blocks]`, their numbers first."""
    order = kinds.to(torch.int8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    return kinds.sum(-1, dtype=torch.int32).to(device)[None, None], order.to(device)[None, None]


def _function(device: str) -> Any:
    """FlexAttention itself within a compiled block, and where nothing compiles it; else compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if device == "cpu" or torch.compiler.is_compiling() else _compiled()


@functools.cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Past its limit of compilations torch would compute uncompiled, with T x T numbers.
    return torch._dynamo.config.patch(recompile_limit=_KEPT)(torch.compile(flex_attention, dynamic=False))

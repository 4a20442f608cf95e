"""What the network asks of a room of kernels: a few functions on torch tensors."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mistral7b.kernels.cache import Pages


class PackedWeight(Protocol):
    """A matrix `[N, K]` in few bits; `quant.formats` says how its bytes stand."""

    @property
    def format(self) -> str:
        """ "int4", "int5", "int8", "q4_0" or "q8_0"."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K), without the padding."""

    @property
    def blocks(self) -> Tensor:
        """uint8 `[N/16, K/128, B]`."""

    @property
    def scales(self) -> Tensor | None:
        """fp32 `[N padded]`; None for q4_0 and q8_0."""

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[N, K]`."""


class LowRank(NamedTuple):
    """All adapters of a projection as one, R ranks together: `a` `[R, in]`, `b` `[R, out]`, and fp32 `scales`
    `[adapters + 1, R]`: in the row of an adapter its scale where its own ranks stand, else 0; the last row, of none, is 0."""

    a: Tensor
    b: Tensor
    scales: Tensor


class Kernels(Protocol):
    """T rows of tokens, H query heads over G KV heads of D channels. Every room equals `torch_room` within stated bounds."""

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """x `[T, in]` times weight `[out, in]` transposed, `[T, out]`."""

    def packed_linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        """`linear` with a packed weight, `[T, N]`; differentiable in x only."""

    def low_rank(self, out: Tensor, x: Tensor, weights: LowRank, adapters: Tensor) -> Tensor:
        """`out` `[T, out]` and what the adapter of each row makes of x `[T, in]`; `adapters` `[T]` int64, -1 for none."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x `[T, dim]` over its root mean square, times weight `[dim]`; the mean is taken in fp32."""

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate adjacent channel pairs of x `[T, heads, D]` by the angles whose cos and sin are `[T, D / 2]`."""

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up, elementwise over `[T, hidden]`."""

    def plan_packed(self, positions: Tensor, window: int | None, device: torch.device) -> object:
        """What `attention` of this room wants to know of packed documents, once for all layers; `positions` `[T]`, int64 on
        the CPU, restart at 0 with each document, `device` is that of the queries."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, plan: object) -> Tensor:
        """Attention of packed documents over themselves, no cache, differentiable; `plan` is from `plan_packed`.

        q `[T, H, D]`, k and v `[T, G, D]`. Returns `[T, H, D]`.
        """

    def write(self, x: Tensor, pages: Pages, slots: Tensor) -> None:
        """Store keys or values `[T, G, D]` at flat `slots` `[T]` (page x P + offset), as the cache rounds them."""

    def plan(
        self, positions: Tensor, borders: Tensor, tables: Tensor, page_tokens: int, window: int | None, device: torch.device
    ) -> object:
        """What `paged_attention` of this room wants to know of a batch, once for all layers.

        Flat `positions` `[T]`, sequence `borders` `[S + 1]` and page `tables` `[S, R]` (a ring: logical page j stands in slot
        `j mod R`), int64 on the CPU; `device` is that of the queries.
        """

    def paged_attention(self, q: Tensor, k: Pages, v: Pages, plan: object) -> Tensor:
        """Attention of q `[T, H, D]` through the page tables of the `plan`. Returns `[T, H, D]`."""


def visible(query: Tensor, key: Tensor, window: int | None) -> Tensor:
    """The attention rule (docs/life-of-a-prompt.md, step 8): query i sees key j of its document iff 0 <= i - j < W.

    `query` and `key` hold positions and broadcast; W keys are seen, the query's own included. With W = 3:

        key      0 1 2 3 4 5
        query 0  x . . . . .
        query 1  x x . . . .
        query 2  x x x . . .
        query 3  . x x x . .
        query 4  . . x x x .
        query 5  . . . x x x
    """
    distance = query - key
    seen = distance >= 0
    return seen if window is None else torch.logical_and(seen, distance < window)

"""NaN and Inf in the weights: every number looked at, one tensor in memory at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mistral7b.checkpoint.source import TensorSource

_PIECE = 1 << 22  # numbers looked at together; the masks of a whole embedding table would take 0.5 GB


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A tensor that holds `nan` NaNs and `inf` infinities among `total` numbers."""

    name: str
    nan: int
    inf: int
    total: int


def scan(source: TensorSource, read: Callable[[int], None] | None = None) -> list[NotFinite]:
    """The tensors of `source` that are not finite throughout, in model order; `read` is told the bytes of each as it is done.

    Open the source with `mapped=False`, so that no page of the file stays. Raises CheckpointError for a tensor that cannot
    be read.
    """
    found = []
    for name in source.names():
        tensor = source.get(name)
        nan, inf = _count(tensor)
        if nan or inf:
            found.append(NotFinite(name, nan, inf, tensor.numel()))
        if read is not None:
            read(tensor.nbytes)
    return found


def _count(tensor: torch.Tensor) -> tuple[int, int]:
    """(NaNs, infinities) in `tensor`."""
    nan = inf = 0
    for piece in tensor.flatten().split(_PIECE):
        if not bool(piece.isfinite().all()):
            nan += int(piece.isnan().sum())
            inf += int(piece.isinf().sum())
    return nan, inf

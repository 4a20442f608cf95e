"""What the quantisation cost: bits and bytes, and on text that was not calibrated on, perplexity and KL divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.quant.formats import packed_bytes


class Network(Protocol):
    """What a finished Transformer is here: a batch in, fp32 logits `[T, vocab]` out."""

    def __call__(self, batch: TokenBatch) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Quality:
    """Over `tokens` rows: perplexity of each model, the mean KL divergence of the quantised one from the original, in nats, and
    the share of rows at which both like the same token best."""

    tokens: int
    original_perplexity: float
    perplexity: float
    kl: float
    same_best: float

    @property
    def perplexity_change(self) -> float:
        """0.01 is one per cent more."""
        return self.perplexity / self.original_perplexity - 1


@dataclass(frozen=True, slots=True)
class Size:
    """`matrix_bits` a weight of the projections and head, all scales included; bytes of all tensors, before and after."""

    matrix_bits: float
    original_bytes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CostReport:
    """`quality` is None where it was not measured, and then `why` says why."""

    size: Size
    quality: Quality | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        quality = None if self.quality is None else asdict(self.quality) | {"perplexity_change": self.quality.perplexity_change}
        return {"size": asdict(self.size), "quality": quality, "why": self.why or None}


def measure_size(original: Path, quantised: Path, *, force: bool = False) -> Size:
    """Reads headers only."""
    with open_source(open_checkpoint(original, force=force)) as source:
        before = sum(math.prod(source.shape(name)) * source.dtype(name).itemsize for name in source.names())
    after = bits = weights = 0
    with open_source(open_checkpoint(quantised)) as source:
        for name in source.names():
            shape, form = source.shape(name), source.packed_format(name)
            held = math.prod(shape) * source.dtype(name).itemsize if form is None else packed_bytes(form, (shape[0], shape[1]))
            after += held
            if len(shape) == 2 and name != "tok_embeddings.weight":
                bits, weights = bits + 8 * held, weights + math.prod(shape)
    return Size(bits / weights, before, after)


@torch.inference_mode()
def measure_quality(
    original: Network,
    quantised: Network,
    sequences: Sequence[Sequence[int]],
    progress: Callable[[int, int, str], None] | None = None,
) -> Quality:
    """Both networks over the same `sequences` of token ids, one at a time; every next token of each is predicted."""
    rows = scored = same = 0
    kl = before = after = 0.0
    for done, ids in enumerate(sequences):
        batch = TokenBatch.pack([Span(ids, 0, None, "all")])
        theirs, ours = (network(batch).log_softmax(-1) for network in (original, quantised))
        kl += float((theirs.exp() * (theirs - ours)).sum(-1).double().sum())
        same += int((theirs.argmax(-1) == ours.argmax(-1)).sum())
        targets = torch.as_tensor(ids[1:])[:, None]
        before -= float(theirs[:-1].gather(1, targets).double().sum())
        after -= float(ours[:-1].gather(1, targets).double().sum())
        rows, scored = rows + len(ids), scored + len(ids) - 1
        if progress is not None:
            progress(done + 1, len(sequences), "measuring")
    return Quality(rows, math.exp(before / scored), math.exp(after / scored), kl / rows, same / rows)

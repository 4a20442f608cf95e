"""What merging an adapter changed: the logits of the merged model beside those of the adapter applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistral7b.checkpoint.adapters import read_adapter
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import weights_bytes
from mistral7b.checkpoint.memory import available_bytes
from mistral7b.errors import MemoryFitError, TokenizerError
from mistral7b.loading import load, pick_dtype
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.lora import put_adapter
from mistral7b.tokens.tokenizer import Tokenizer

TEXT = (
    "The river was higher than anyone in the village could remember. Anna counted the boats twice: there were seven, and "
    'yesterday there had been eight. "Perhaps the miller took one," said her brother, who liked an easy answer. '
    "She did not reply. In 1953 the water had reached the church, 4.2 metres above its usual level."
)
_LONGEST = 512  # tokens
_WORK = 1 << 30  # bytes beside the weights


@dataclass(frozen=True, slots=True)
class Drift:
    """Over `tokens` rows: the largest and the mean absolute difference of logits between adapter applied and merged, the mean
    KL divergence of the merged model in nats, the share of rows at which both like the same token best; and of the change that
    the adapter makes to the base's logits (less their mean over the vocabulary), the share the merge `kept`: the projection
    of its own change on it, 1 for all and 0 for none, None for an adapter that changes nothing."""

    tokens: int
    largest: float
    mean: float
    kl: float
    same_best: float
    kept: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_drift(model: Path, adapter: Path, merged: Path, text: str = TEXT, *, force: bool = False) -> Drift:
    """Both as they would answer, one model in memory at a time, on `text` (its first 512 tokens).

    Raises TokenizerError for a model without a tokenizer, MemoryFitError if memory has no room for it, and what loading raises.
    """
    checkpoint = open_checkpoint(model, force=force)
    if checkpoint.tokenizer is None:
        raise TokenizerError("text needs a tokenizer, and this model has none; add its tokenizer.model")
    ids = Tokenizer.load(checkpoint.tokenizer).encode(text, bos=True)[:_LONGEST]
    added = read_adapter(adapter, checkpoint.config)
    network = _loaded(model, force=force)
    put_adapter(network, added.weights, added.scales)
    base, applied = _logits(network, ids, [-1, 0])
    del network
    (found,) = _logits(_loaded(merged, force=force), ids, [-1])
    return compare(base, applied, found)


def compare(base: Tensor, applied: Tensor, merged: Tensor) -> Drift:
    """fp32 logits `[T, vocab]` of the base, of the adapter applied, and of the merged model."""
    off = (merged - applied).abs()
    theirs, ours = applied.log_softmax(-1), merged.log_softmax(-1)
    kl = float((theirs.exp() * (theirs - ours)).sum(-1).double().mean())
    effect, kept = _centred(applied - base), _centred(merged - base)
    strength = float(effect.square().sum())
    share = float((kept * effect).sum()) / strength if strength > 0 else None
    same = float((applied.argmax(-1) == merged.argmax(-1)).double().mean())
    return Drift(len(base), float(off.max()), float(off.double().mean()), kl, same, share)


def _centred(logits: Tensor) -> Tensor:
    wide = logits.double()
    return wide - wide.mean(-1, keepdim=True)


def _loaded(path: Path, *, force: bool) -> Any:
    checkpoint = open_checkpoint(path, force=force)
    needed, there = _WORK + weights_bytes(checkpoint, pick_dtype("auto", checkpoint), packed=True), available_bytes()
    if there is not None and needed > there:
        raise MemoryFitError(f"{path} needs {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB are free")
    return load(path, device="cpu", force=force).model


@torch.inference_mode()
def _logits(network: Any, ids: Sequence[int], adapters: Sequence[int]) -> tuple[Tensor, ...]:
    """fp32 `[T, vocab]` for each adapter."""
    batch = TokenBatch.pack([Span(ids, logits="all", adapter=adapter) for adapter in adapters])
    logits: Tensor = network(batch)
    return tuple(logits.split(len(ids)))

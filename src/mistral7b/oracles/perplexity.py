"""Perplexity as llama.cpp measures it, so that its published figures can be compared with ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mistral7b.errors import RequestError

_BOS = 1


class HasLogits(Protocol):
    """A model that tells fp32 logits `[n, vocab]` of n ids."""

    def logits(self, ids: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Perplexity:
    """`value` is e to the mean negative log-likelihood (natural log) of `scored` tokens; `error` its standard error."""

    value: float
    error: float
    chunks: int
    scored: int


def perplexity(
    llm: HasLogits, ids: Sequence[int], context: int = 512, *, progress: Callable[[int, int], None] | None = None
) -> Perplexity:
    """Perplexity of a text of `ids`, which begin with BOS, in chunks of `context` tokens.

    Each chunk stands alone, its first token replaced by BOS; of its predictions those from position context / 2 on are
    scored, so that each has half a context at least (llama.cpp, examples/perplexity). What is left over at the end is not
    scored. 512: 255 tokens a chunk, from the prediction at position 256 to that at 510. `progress` is told (chunks done,
    chunks in all). Raises RequestError for a text of less than one chunk, and those of `llm.logits`.
    """
    chunks, first = len(ids) // context, context // 2
    if context < 4 or not chunks:
        raise RequestError(f"perplexity in chunks of {context} tokens needs one chunk of at least 4; the text has {len(ids):,}")
    total = squares = 0.0
    for chunk in range(chunks):
        window = [_BOS, *ids[chunk * context + 1 : (chunk + 1) * context]]
        predictions = llm.logits(window)[first : context - 1].double().log_softmax(dim=-1)
        targets = torch.tensor(window[first + 1 :], device=predictions.device)
        losses = -predictions.gather(1, targets[:, None])
        total, squares = total + float(losses.sum()), squares + float(losses.square().sum())
        if progress is not None:
            progress(chunk + 1, chunks)
    scored = chunks * (context - 1 - first)
    mean = total / scored
    spread = max(0.0, squares / scored - mean * mean)
    value = math.exp(mean) if mean < 700 else math.inf
    return Perplexity(value, value * math.sqrt(spread / max(1, scored - 1)), chunks, scored)

"""From logits to an id: greedy, temperature, top-k, top-p; random numbers keyed by (seed, position)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mistral7b.engine.params import SamplingParams


@dataclass(frozen=True)
class Sampled:
    """One chosen id; `logprob` is its natural-log probability before temperature, `rank` its place (1 is the likeliest).

    `top` holds (id, logprob) of the likeliest ids, as many as `SamplingParams.logprobs` asks for.
    """

    id: int
    logprob: float | None = None
    rank: int | None = None
    top: tuple[tuple[int, float], ...] = ()


def sample(logits: Tensor, params: SamplingParams, seed: int, position: int) -> Sampled:
    """Choose the id that stands at `position`, from fp32 `logits` `[vocab]`.

    The choice depends on nothing but these arguments: not on other requests, nor on what was drawn before.
    """
    chosen = int(logits.argmax()) if params.temperature == 0 else _draw(logits, params, seed, position)
    if params.logprobs is None:
        return Sampled(chosen)
    logprobs = logits.log_softmax(-1)
    top = torch.topk(logprobs, min(params.logprobs, len(logprobs)))
    rank = int((logprobs > logprobs[chosen]).sum()) + 1
    pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return Sampled(chosen, float(logprobs[chosen]), rank, pairs)


def _draw(logits: Tensor, params: SamplingParams, seed: int, position: int) -> int:
    """Invert the cumulative distribution at one uniform number. Ids of equal logit are ordered by id."""
    values, ids = logits.sort(descending=True, stable=True)
    if params.top_k:
        values = values[: params.top_k]
    wide = values.double().cpu().numpy()
    with np.errstate(over="ignore"):  # far below the first at a tiny temperature: minus infinity, weight 0
        weights = np.exp((wide - wide[0]) / params.temperature)
    cumulative = np.cumsum(weights)
    # top-p keeps the shortest head whose mass reaches top_p: the first id always, then while the mass before it falls short.
    kept = 1 + int(np.searchsorted(cumulative[:-1], params.top_p * cumulative[-1])) if params.top_p < 1 else len(cumulative)
    mark = uniform(seed, position) * cumulative[kept - 1]
    place = min(int(np.searchsorted(cumulative[:kept], mark, side="right")), kept - 1)
    return int(ids[place])


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that is a function of (seed, position): the Philox generator at that counter."""
    return float(np.random.Generator(np.random.Philox(key=seed, counter=position)).random())

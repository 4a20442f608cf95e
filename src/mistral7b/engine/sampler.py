"""From logits to an id: grammar, penalties, temperature, min-p, top-k, top-p; random numbers keyed by (seed, position)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mistral7b.engine.params import SamplingParams

# Finite stand-ins for minus infinity: an id that may not come is less likely than the least likely that may.
_FORBIDDEN, _LEAST = -3e38, -1e38
# Hotter makes no difference to what may come, and would let in what may not.
_HOTTEST = 1e30
# Ids sorted at first for top-p: nearly always enough, at a tenth of what sorting a whole vocabulary costs.
_HEAD = 512


@dataclass(frozen=True)
class Sampled:
    """One chosen id; `logprob` is its natural-log probability before temperature, `rank` its place (1 is the likeliest).

    `top` holds (id, logprob) of the likeliest ids, as many as `SamplingParams.logprobs` asks for. All three are those of the
    network, before penalties, bias and grammar.
    """

    id: int
    logprob: float | None = None
    rank: int | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Counts:
    """How often each id of the vocabulary stands in the output, `[V]`, and whether it stands in the prompt, `[V]`."""

    output: Tensor
    prompt: Tensor

    @classmethod
    def of(cls, prompt: Collection[int], output: Collection[int], vocab_size: int, device: torch.device) -> Counts:
        """Count them."""
        inside = torch.zeros(vocab_size, dtype=torch.bool, device=device)
        inside[torch.tensor(list(prompt), dtype=torch.int64, device=device)] = True
        counted = torch.bincount(torch.tensor(list(output), dtype=torch.int64, device=device), minlength=vocab_size)
        return cls(counted.float(), inside)


def adjusted(
    logits: Tensor,
    params: SamplingParams,
    *,
    counts: Counts | None = None,
    allowed: NDArray[np.bool_] | None = None,
    barred: Collection[int] = (),
) -> Tensor:
    """`logits` `[V]` after bias and penalties, without the ids that are not `allowed` (a grammar's mask) or are `barred`."""
    if counts is not None:
        logits = _penalised(logits, params, counts)
    if params.logit_bias:
        ids = torch.tensor(list(params.logit_bias), device=logits.device)
        bias = torch.tensor(list(params.logit_bias.values()), dtype=logits.dtype, device=logits.device)
        logits = logits.index_add(0, ids, bias)
    if barred or allowed is not None:
        logits = logits.clamp(min=_LEAST)
    if barred:
        logits = logits.index_fill(0, torch.tensor(list(barred), device=logits.device), _FORBIDDEN)
    if allowed is not None:
        mask = torch.zeros(len(logits), dtype=torch.bool)
        mask[: len(allowed)] = torch.tensor(allowed)
        logits = logits.masked_fill(~mask.to(logits.device), _FORBIDDEN)
    return logits


def _penalised(logits: Tensor, params: SamplingParams, counts: Counts) -> Tensor:
    if params.repetition_penalty != 1:
        weaker = torch.where(logits > 0, logits / params.repetition_penalty, logits * params.repetition_penalty)
        # A penalty beyond fp32 takes a logit of 0 to none at all, and others to infinity.
        logits = torch.where(counts.prompt | (counts.output > 0), weaker.nan_to_num(), logits)
    return logits - params.frequency_penalty * counts.output - params.presence_penalty * (counts.output > 0)


def sample(logits: Tensor, params: SamplingParams, seed: int, position: int) -> int:
    """Choose the id that stands at `position`, from fp32 `logits` `[V]`.

    The choice depends on nothing but these arguments: not on other requests, nor on what was drawn before.
    """
    return int(logits.argmax()) if params.temperature == 0 else _draw(logits, params, seed, position)


def report(logits: Tensor, chosen: int, top: int | None) -> Sampled:
    """`chosen` with its log-probability among `logits` `[V]` and the `top` likeliest; without them if `top` is None."""
    if top is None:
        return Sampled(chosen)
    logprobs = logits.log_softmax(-1)
    likeliest = torch.topk(logprobs, min(top, len(logprobs)))
    rank = int((logprobs > logprobs[chosen]).sum()) + 1
    pairs = tuple(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True))
    return Sampled(chosen, float(logprobs[chosen]), rank, pairs)


def _draw(logits: Tensor, params: SamplingParams, seed: int, position: int) -> int:
    """Invert the cumulative distribution over the ids, in their order, at one uniform number."""
    wide = logits.double().cpu().numpy()
    with np.errstate(over="ignore", under="ignore"):  # far below the first at a tiny temperature: weight 0
        weights = np.exp((wide - wide.max()) / min(params.temperature, _HOTTEST))
    if params.min_p > 0:
        weights[weights < params.min_p] = 0.0
    if 0 < params.top_k < len(weights) or params.top_p < 1:
        weights = _truncated(weights, params)
    cumulative = np.cumsum(weights)
    place = int(np.searchsorted(cumulative, uniform(seed, position) * cumulative[-1], side="right"))
    # The product may round up to the whole, and no place is behind that.
    return place if place < len(weights) else int(np.flatnonzero(weights)[-1])


def _truncated(weights: NDArray[np.float64], params: SamplingParams) -> NDArray[np.float64]:
    """`weights` with 0 outside top-k and top-p. Ids of equal weight are ordered by id."""
    n = params.top_k or _HEAD
    kept = _likeliest(weights, n)
    if params.top_k:
        kept = kept[:n]
    if params.top_p < 1:
        wanted = params.top_p * float((weights[kept] if params.top_k else weights).sum())
        while not params.top_k and len(kept) < len(weights) and weights[kept].sum() < wanted:
            n *= 8
            kept = _likeliest(weights, n)
        # The shortest head whose mass reaches top_p: the first id always, then while the mass before it falls short.
        kept = kept[: 1 + int(np.searchsorted(np.cumsum(weights[kept])[:-1], wanted))]
    inside = np.zeros_like(weights)
    inside[kept] = weights[kept]
    return inside


def _likeliest(weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """The ids of the `n` greatest weights, and of any that equal the last of them, the greatest first."""
    if n < len(weights):
        ids = np.flatnonzero(weights >= np.partition(weights, -n)[-n])
    else:
        ids = np.arange(len(weights))
    return ids[np.argsort(-weights[ids], kind="stable")]


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that is a function of (seed, position): the Philox generator at that counter."""
    return float(np.random.Generator(np.random.Philox(key=seed, counter=position)).random())

"""What a run measures of itself: held-out bits per byte by source, and how it continues a few prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mistral7b.data.pack import IGNORED, Mixture
from mistral7b.data.shards import Shards, Split
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.batches import Rows, micro_batch
from mistral7b.train.loss import Loss
from mistral7b.train.preference import PreferenceTrainee
from mistral7b.train.ranks import Ranks
from mistral7b.train.trainee import Trainee

HELD_OUT: Split = "held-out"


def byte_lengths(tokenizer: Tokenizer) -> Tensor:
    """UTF-8 bytes that each id contributes to a text, `[V]`."""
    return torch.tensor([len(tokenizer.piece_bytes(id)) for id in range(tokenizer.vocab_size)])


def held_out(shards: Shards, length: int) -> dict[str, Mixture]:
    """The held-out rows of each source that has one row at least, in an order of its own."""
    long_enough = [name for name, source in shards.sources.items() if source.splits[HELD_OUT].tokens >= length]
    return {name: Mixture(shards, HELD_OUT, {name: 1.0}, length, 0) for name in long_enough}


@torch.no_grad()
def bits_per_byte(
    trainee: Trainee, sources: dict[str, Mixture], lengths: Tensor, ranks: Ranks, *, tokens: int | None, at_once: int
) -> dict[str, float]:
    """Bits of all next tokens, the ends of documents included, over the UTF-8 bytes of the text they are; for each source
    over at most `tokens` tokens (None: all), `at_once` rows in a forward. The ranks share the rows."""
    found = {}
    for source, mixture in sources.items():
        rows = mixture.rows if tokens is None else min(mixture.rows, max(1, tokens // mixture.length))
        sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
        for nll, targets in _losses(trainee, mixture, rows, at_once, ranks):
            sums += torch.stack((nll, lengths[targets].sum().double().to(ranks.device)))
        nats, size = ranks.sum(sums).tolist()
        found[source] = nats / math.log(2) / max(size, 1)
    return found


@torch.no_grad()
def mean_loss(trainee: Trainee, source: Rows, ranks: Ranks, *, most: int | None, at_once: int) -> float:
    """Nats a target over the first `most` rows (None: all), `at_once` in a forward. The ranks share the rows."""
    rows = source.rows if most is None else min(source.rows, most)
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    for nll, targets in _losses(trainee, source, rows, at_once, ranks):
        sums += torch.stack((nll, torch.tensor(float(len(targets)), dtype=torch.float64, device=ranks.device)))
    nats, count = ranks.sum(sums).tolist()
    return float(nats / max(count, 1))


@torch.no_grad()
def preferences(trainee: PreferenceTrainee, source: Rows, ranks: Ranks, *, most: int | None) -> dict[str, float]:
    """Over the first `most` pairs: the share whose preferred reply gained more, by how many nats, and the divergence from the
    reference in nats a token."""
    rows = source.rows if most is None else min(source.rows, most)
    sums = torch.zeros(5, dtype=torch.float64, device=ranks.device)
    for (i,) in _shares(rows, 1, ranks):
        micro = micro_batch([source.row(min(i, rows - 1))])
        (margin,), drift = trainee(micro.batch, micro.targets, drift=True)
        if i < rows:
            sums += torch.stack([margin > 0, margin, torch.ones_like(margin), drift.sum(), torch.full_like(margin, len(drift))])
    preferred, margins, pairs, drifts, tokens = ranks.sum(sums).tolist()
    return {"preferred": preferred / pairs, "margin": margins / pairs, "KL a token": drifts / tokens}


def _losses(trainee: Trainee, source: Rows, rows: int, at_once: int, ranks: Ranks) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each forward over this rank's share of the first `rows` rows: the summed nats (fp64), and the ids that were targets."""
    for part in _shares(rows, at_once, ranks):
        found = [source.row(min(i, rows - 1)) for i in part]
        micro = micro_batch(found)
        lengths = torch.tensor([len(row.ids) for row in found])
        spare = torch.repeat_interleave(torch.tensor([i >= rows for i in part]), lengths)
        targets = micro.targets.masked_fill(spare, IGNORED)
        loss = trainee(micro.batch, targets)
        assert isinstance(loss, Loss)
        yield loss.nll.double(), targets[targets >= 0]


def _shares(rows: int, at_once: int, ranks: Ranks) -> Iterator[list[int]]:
    """This rank's rows, some in a forward. Every rank makes as many forwards, since sharded weights are gathered together:
    a number past the last row is to be computed and not counted."""
    mine = [i * ranks.data_ranks + ranks.data_rank for i in range(-(-rows // ranks.data_ranks))]
    for start in range(0, len(mine), at_once):
        yield mine[start : start + at_once]


@torch.no_grad()
def continuations(trainee: Trainee, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], tokens: int) -> list[str]:
    """The greedy continuation of each prompt of ids, at most `tokens` tokens; all is computed anew each time, with no cache, so
    that it runs on weights in shards too. Every rank gets the same."""
    sequences = [list(ids) for ids in prompts]
    begun = [len(ids) for ids in sequences]
    running = set(range(len(sequences)))
    for _ in range(tokens if sequences else 0):
        order = sorted(running)
        logits = trainee(TokenBatch.pack([Span(sequences[i], 0, None, "last") for i in order]))
        assert isinstance(logits, Tensor)
        for i, id in zip(order, logits.argmax(-1).tolist(), strict=True):
            if id == tokenizer.eos_id:
                running.discard(i)
            else:
                sequences[i].append(id)
        if not running:
            break
    return [tokenizer.decode(ids).removeprefix(tokenizer.decode(ids[:n])) for ids, n in zip(sequences, begun, strict=True)]

"""How well a model predicts at each distance from the beginning: does text keep helping past the window, or does it break?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral7b.api import LLM
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import DataError, TokenizerError
from mistral7b.evals.scorer import Pair, Scorer

WINDOWS = 8
_BUCKETS = 8  # of a window
_TOGETHER = 16  # pieces whose prefixes are held at once


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens at positions `begin` up to `end` (BOS stands at 0), `tokens` of them over all pieces; their mean negative
    log-probability `nll` in nats, and `error`, its standard error over pieces, None for one piece."""

    begin: int
    end: int
    tokens: int
    nll: float
    error: float | None

    @property
    def perplexity(self) -> float:
        return math.exp(self.nll)

    def to_json(self) -> dict[str, Any]:
        return {
            "begin": self.begin, "end": self.end, "tokens": self.tokens, "nll": self.nll, "error": self.error,
            "perplexity": self.perplexity,
        }  # fmt: skip


def longest(model: Path, *, force: bool = False) -> int | None:
    """Positions that are looked at unless asked otherwise: eight windows where the model reaches so far; None without a window,
    for all that it is configured for."""
    checkpoint = open_checkpoint(model, force=force)
    window = checkpoint.config.sliding_window
    if window is None:
        return None
    return min(WINDOWS * window, max(checkpoint.max_positions or 0, checkpoint.config.n_layers * window))


def bucket_of(window: int | None, length: int) -> int:
    """Positions of a bucket: an eighth of a window, or a 64th of a length without one."""
    return max(1, length // (WINDOWS * _BUCKETS) if window is None else window // _BUCKETS)


def pieces_of(llm: LLM, texts: Sequence[str], length: int) -> list[list[int]]:
    """`texts` cut into pieces of `length` tokens, BOS before each; a text's last one may be shorter. The longest come first.

    Raises TokenizerError without a tokenizer.
    """
    if llm.tokenizer is None:
        raise TokenizerError("text needs a tokenizer, and this model folder has none; add its tokenizer.model")
    texts_ids = llm.tokenizer.encode_many([text for text in texts if text])
    pieces = [
        [llm.tokenizer.bos_id, *ids[start : start + length - 1]] for ids in texts_ids for start in range(0, len(ids), length - 1)
    ]
    return sorted(pieces, key=len, reverse=True)


def by_position(
    llm: LLM, pieces: Sequence[Sequence[int]], bucket: int, progress: Callable[[int, int], None] | None = None
) -> list[Bucket]:
    """Mean negative log-probability by position over `pieces`, in buckets of so many positions, the first behind BOS.

    A piece counts in the buckets it fills; those that none fills are left out. `progress` is told (buckets of pieces done, in
    all). Raises DataError if no piece fills a bucket, and what `Scorer.score` raises.
    """
    scorer, done = Scorer(llm), 0
    total = sum((len(piece) - 1) // bucket for piece in pieces)
    if not total:
        raise DataError(f"no text has {bucket:,} tokens to measure on; give a longer one")
    by_begin: dict[int, list[float]] = {}
    for start in range(0, len(pieces), _TOGETHER):
        pairs: list[Pair] = []
        for piece in pieces[start : start + _TOGETHER]:
            pairs += [(piece[:begin], piece[begin : begin + bucket]) for begin in range(1, len(piece) - bucket + 1, bucket)]
        for place, score in scorer.stream(pairs):
            by_begin.setdefault(len(pairs[place][0]), []).append(-score.logprob / bucket)
            done += 1
            if progress is not None:
                progress(done, total)
    return [
        Bucket(begin, begin + bucket, bucket * len(means), statistics.fmean(means), _error(means))
        for begin, means in sorted(by_begin.items())
    ]


def draw(path: Path, buckets: Sequence[Bucket], window: int | None, trained: int | None) -> None:
    """The buckets as a PNG: nats a token by position, with their errors, each window's end, and the trained length."""
    from mistral7b.evals.picture import picture

    with picture(path) as figure:
        axes = figure.subplots()
        middles = [(bucket.begin + bucket.end) / 2 for bucket in buckets]
        axes.plot(middles, [bucket.nll for bucket in buckets], marker="o", markersize=3)
        errors = [bucket.error or 0.0 for bucket in buckets]
        low = [bucket.nll - error for bucket, error in zip(buckets, errors, strict=True)]
        high = [bucket.nll + error for bucket, error in zip(buckets, errors, strict=True)]
        axes.fill_between(middles, low, high, alpha=0.2, label="standard error")
        for end in range(window, buckets[-1].end + 1, window) if window else ():
            axes.axvline(end, color="grey", linewidth=0.6, linestyle=":", label="a window's end" if end == window else None)
        if trained is not None and trained < buckets[-1].end:
            axes.axvline(trained, color="tab:red", linewidth=0.9, linestyle="--", label="trained length")
        axes.set(xlabel="position", ylabel="nats a token", title="How well the next token is predicted, by position")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")


def _error(means: Sequence[float]) -> float | None:
    return statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None

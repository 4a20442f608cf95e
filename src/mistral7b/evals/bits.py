"""Bits per byte: how short a model could write a text down. Comparable between models whatever their tokenizers."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mistral7b.data.documents import OnBadLine, read_jsonl
from mistral7b.errors import DataError, NumericError, RequestError
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.tokens.tokenizer import Tokenizer

LONGEST_CONTEXT = 4096  # tokens of a piece unless asked for more: without a window, attention costs their square
_TOGETHER = 4096  # tokens of one forward, where pieces are shorter
_LOGIT_ROWS = 512  # rows whose logits are held at once


@dataclass(frozen=True, slots=True)
class Bits:
    """`bits` that the model needs for `documents`, of `bytes` UTF-8 bytes in `tokens` tokens (EOS counted, BOS not), read in
    pieces of at most `context` tokens."""

    bits: float
    bytes: int
    tokens: int
    documents: int
    context: int

    @property
    def per_byte(self) -> float:
        return self.bits / self.bytes

    def to_json(self) -> dict[str, Any]:
        return {"bits_per_byte": self.per_byte, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Piece:
    """Inputs `ids[begin:end]` of a document, which predict `ids[first + 1 : end + 1]` and nothing before."""

    begin: int
    first: int
    end: int


@torch.inference_mode()
def bits_per_byte(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    context: int,
    progress: Callable[[int, int], None] | None = None,
) -> Bits:
    """Bits per byte of `texts`, each a document by itself.

    A document is BOS, its tokens, EOS, as in training. Counted are -log2 of the probabilities of every token after BOS, that
    of EOS included: a reader who is to write the text down again from those bits must also learn where it ends. The sum over
    all documents is divided by the UTF-8 bytes of their texts. A document longer than `context` is read in overlapping pieces,
    each beginning at position 0; every token is counted once, and after the first piece with at least a window of tokens
    before it, or half of `context` if that is less. The window holds within a piece. Texts without a character are left out.

    `progress` is told (tokens done, in all). Raises DataError if no text has a character, RequestError for a context below 2,
    NumericError for probabilities that are not finite.
    """
    if context < 2:
        raise RequestError(f"a context of {context} tokens predicts nothing; give at least 2")
    kept = [text for text in texts if text]
    if not kept:
        raise DataError("there is no text to measure on")
    documents = [[tokenizer.bos_id, *ids, tokenizer.eos_id] for ids in tokenizer.encode_many(kept)]
    total, done, bits = sum(len(ids) - 1 for ids in documents), 0, 0.0
    overlap = min(context // 2, model.config.sliding_window or context)
    for batch in batches(documents, context, overlap):
        bits += _bits(model, batch)
        done += sum(piece.end - piece.first for _, piece in batch)
        if progress is not None:
            progress(done, total)
    if not math.isfinite(bits):
        raise NumericError("the model gives probabilities that are not finite; try another dtype, and check it with verify")
    return Bits(bits, sum(len(text.encode()) for text in kept), total, len(kept), context)


def pieces(n_ids: int, context: int, overlap: int) -> Iterator[Piece]:
    """How a document of `n_ids` is read: 10 ids in a context of 4 with an overlap of 2 as [0, 4), [2, 6), [4, 8), [5, 9)."""
    end = min(context, n_ids - 1)
    yield Piece(0, 0, end)
    while end < n_ids - 1:
        first, end = end, min(end + context - overlap, n_ids - 1)
        yield Piece(end - context, first, end)


Batch = list[tuple[Sequence[int], Piece]]


def batches(documents: Sequence[Sequence[int]], context: int, overlap: int) -> Iterator[Batch]:
    """The pieces of all documents, in their order, in runs of at most `_TOGETHER` tokens, or of one piece."""
    batch: Batch = []
    held = 0
    for ids in documents:
        for piece in pieces(len(ids), context, overlap):
            size = piece.end - piece.begin
            if batch and held + size > _TOGETHER:
                yield batch
                batch, held = [], 0
            batch.append((ids, piece))
            held += size
    if batch:
        yield batch


def _bits(model: Transformer, batch: Batch) -> float:
    """Bits of what the pieces predict."""
    states = model.hidden(TokenBatch.pack([Span(ids[piece.begin : piece.end]) for ids, piece in batch]))
    rows: list[int] = []
    targets: list[int] = []
    start = 0
    for ids, piece in batch:
        rows += range(start + piece.first - piece.begin, start + piece.end - piece.begin)
        targets += ids[piece.first + 1 : piece.end + 1]
        start += piece.end - piece.begin
    nats = 0.0
    wanted = torch.tensor(targets, device=states.device)[:, None]
    for some, ids_of in zip(torch.tensor(rows, device=states.device).split(_LOGIT_ROWS), wanted.split(_LOGIT_ROWS), strict=True):
        log_probs = model.logits(states[some]).log_softmax(-1)
        nats -= float(log_probs.gather(1, ids_of).double().sum())
    return nats / math.log(2)


def read_documents(path: Path, on_bad_line: OnBadLine | None = None) -> list[str]:
    """The documents of a file: the "text" of each line of .jsonl, the whole of any other file; .gz of either.

    Raises DataError for a file that cannot be read, is not UTF-8, or has a line that is no document (with `on_bad_line` that
    is told of it instead, and the line is left out).
    """
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return list(read_jsonl(path, on_bad_line))
    try:
        raw = path.read_bytes()
        return [(gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}") from None

"""Text for calibration and measurement: JSONL in, sequences of token ids out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mistral7b.errors import RequestError
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.tokens.tokenizer import Tokenizer

HELD_OUT = 8  # of so many lines the last is not calibrated on
_SHORTEST = 16  # tokens; less context than this tells nothing
_TOGETHER = 2048  # tokens of one forward


def read_texts(path: Path) -> list[str]:
    """The "text" of each line of a JSONL file; empty ones are left out. Raises RequestError in one line."""
    texts = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                found = json.loads(line)
                text = found.get("text") if isinstance(found, dict) else None
                if not isinstance(text, str):
                    raise RequestError(f'{path}, line {number}: not an object with a "text"')
                if text.strip():
                    texts.append(text)
    except (json.JSONDecodeError, RecursionError):
        raise RequestError(f"{path}, line {number}: not JSON; each line must be one object") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}") from None
    if not texts:
        raise RequestError(f"{path} holds no text")
    return texts


def split(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(texts to calibrate on, texts to measure on): every eighth is kept out of the first."""
    kept = [text for i, text in enumerate(texts) if i % HELD_OUT != HELD_OUT - 1]
    return kept, list(texts[HELD_OUT - 1 :: HELD_OUT])


def sequences(tokenizer: Tokenizer, texts: Sequence[str], samples: int, tokens: int) -> list[list[int]]:
    """At most `samples` sequences of at most `tokens` ids, each with BOS before it: the first piece of every text, then the
    second of those that have one, and so on. Raises RequestError if no text is long enough for one."""
    found: list[list[int]] = []
    left = list(texts)
    begun = [0] * len(left)
    coded: list[list[int] | None] = [None] * len(left)
    while len(found) < samples:
        before = len(found)
        for i, text in enumerate(left):
            if len(found) == samples:
                break
            ids = coded[i] = coded[i] if coded[i] is not None else tokenizer.encode(text, bos=False)
            assert ids is not None
            piece = ids[begun[i] : begun[i] + tokens - 1]
            if len(piece) >= _SHORTEST:
                found.append([tokenizer.bos_id, *piece])
                begun[i] += len(piece)
        if len(found) == before:
            break
    if not found:
        raise RequestError(f"no text is longer than {_SHORTEST} tokens; give longer ones")
    return found


def batches(found: Sequence[Sequence[int]]) -> list[TokenBatch]:
    """The sequences, whole, in forwards of some two thousand tokens."""
    made: list[TokenBatch] = []
    spans: list[Span] = []
    for i, ids in enumerate(found, start=1):
        spans.append(Span(ids, 0, None, "all"))
        if i == len(found) or sum(len(span.ids) for span in spans) + len(found[i]) > _TOGETHER:
            made.append(TokenBatch.pack(spans))
            spans = []
    return made

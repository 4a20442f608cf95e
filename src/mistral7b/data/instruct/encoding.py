"""Texts and dialogues to samples, one by one and a part of a file at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mistral7b.data.instruct.layouts import Found
from mistral7b.data.instruct.mends import mended
from mistral7b.data.instruct.parts import Part
from mistral7b.data.instruct.shapes import Dialogue, Text
from mistral7b.errors import ChatError, DataError, TokenizerError
from mistral7b.tokens.dialogue import On, Sample, samples_of
from mistral7b.tokens.tokenizer import Tokenizer

TooLong = Literal["refuse", "drop", "cut"]


def encoded(tokenizer: Tokenizer, said: Text | Dialogue, on: On, notes: list[str] | None = None) -> list[Sample]:
    """The samples of a text or dialogue, whole. Raises DataError for what no template holds, or if nothing is learned."""
    try:
        if isinstance(said, Text):
            ids = [*tokenizer.encode(said.text, bos=True), tokenizer.eos_id]
            return [Sample(ids, [False] + [True] * (len(ids) - 1))]
        trained = [bool(weight) for weight in said.weights]
        samples = samples_of(tokenizer, said.messages, said.tools, trained=trained, on=on, notes=notes)
    except (ChatError, TokenizerError) as error:
        raise DataError(str(error)) from None
    if not samples:
        raise DataError("nothing of it is learned: it has no reply of the assistant with a weight of 1")
    return samples


def refusal(sample: Sample, length: int) -> DataError:
    """What is said of a dialogue over `length` that is neither cut nor dropped."""
    return DataError(f"{len(sample.ids):,} tokens, more than {length:,}; cut or drop what is too long")


def pieces(sample: Sample, length: int) -> Iterator[Sample]:
    """`sample` in pieces of at most `length` ids, each beginning with the last id of the one before it."""
    for begin in range(0, max(len(sample.ids) - 1, 1), length - 1):
        span = slice(begin, begin + length)
        yield Sample(sample.ids[span], [False, *sample.trained[span][1:]])


@dataclass(slots=True)
class Encoded:
    """The samples of a part end to end, up to its first `fault`; bytes of the arrays in `Samples`."""

    ids: bytearray = field(default_factory=bytearray)
    trained: bytearray = field(default_factory=bytearray)
    lengths: list[int] = field(default_factory=list)
    dropped: int = 0
    cut: int = 0
    dialogues: int = 0
    is_last: bool = False
    fault: str | None = None

    def add(self, other: Encoded) -> None:
        self.ids += other.ids
        self.trained += other.trained
        self.lengths += other.lengths
        self.dropped += other.dropped
        self.cut += other.cut
        self.dialogues += other.dialogues

    def take(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self.ids += np.array(sample.ids, np.int32).tobytes()
            self.trained += np.array(sample.trained, np.bool_).tobytes()
            self.lengths.append(len(sample.ids))


@dataclass(frozen=True, slots=True)
class Encoding:
    """What is done with a part, in any process."""

    tokenizer: Tokenizer
    length: int
    on: On
    too_long: TooLong

    def __call__(self, part: Part) -> Encoded:
        made = Encoded(is_last=part.is_last, fault=part.fault)
        for found in part.dialogues:
            try:
                made.take(self._fitting(_sound(found), made))
            except DataError as error:
                made.fault = f"{found.place}: {error}"
                break
            made.dialogues += isinstance(found.said, Dialogue)
        return made

    def _fitting(self, said: Text | Dialogue, made: Encoded) -> list[Sample]:
        samples = encoded(self.tokenizer, said, self.on)
        if isinstance(said, Text):
            return list(pieces(samples[0], self.length))
        kept = []
        for sample in samples:
            whole = len(sample.ids) <= self.length
            if not whole and self.too_long == "refuse":
                raise refusal(sample, self.length)
            short = sample if whole else Sample(sample.ids[: self.length], sample.trained[: self.length])
            if whole or (self.too_long == "cut" and any(short.trained)):
                kept.append(short)
                made.cut += not whole
            else:
                made.dropped += 1
        return kept


def _sound(found: Found) -> Text | Dialogue:
    if found.said is None:
        raise DataError(found.fault)
    if isinstance(found.said, Text):
        return found.said
    said, faults = mended(found.said)
    if faults:
        raise DataError(faults[0])
    return said

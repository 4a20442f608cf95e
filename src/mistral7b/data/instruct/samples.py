"""Files of instruction data as training samples, flat in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mistral7b.data.instruct.layouts import Found, read_dialogues
from mistral7b.data.instruct.mends import mended
from mistral7b.data.instruct.shapes import Dialogue, Services, Text
from mistral7b.errors import ChatError, DataError, TokenizerError
from mistral7b.tokens.dialogue import On, Sample, samples_of
from mistral7b.tokens.tokenizer import Tokenizer

TooLong = Literal["refuse", "drop", "cut"]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples end to end: `ids` int32 `[N]`, `trained` bool `[N]`, `borders` int64 `[S + 1]`, 0 and N included.

    `ends` says, for each file, how many samples there are up to its end. `skipped` counts records left out for a fault,
    `dropped` and `cut` those samples that were too long, `dialogues` those records that are no plain texts.
    """

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    borders: NDArray[np.int64]
    ends: tuple[int, ...]
    skipped: int = 0
    dropped: int = 0
    cut: int = 0
    dialogues: int = 0

    def __post_init__(self) -> None:
        assert self.ids.shape == self.trained.shape, "one mark an id"
        assert self.borders[0] == 0, "the first sample begins the ids"
        assert self.borders[-1] == len(self.ids), "the last sample ends them"
        assert self.ends[-1:] == (len(self),), "the last file holds the last sample"

    def __len__(self) -> int:
        return len(self.borders) - 1

    def sample(self, index: int) -> Sample:
        """Sample `index`; IndexError outside `range(len(self))`."""
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is outside {len(self)} samples")
        span = slice(self.borders[index], self.borders[index + 1])
        return Sample(self.ids[span].tolist(), self.trained[span].tolist())

    @classmethod
    def read(
        cls,
        files: Sequence[Path],
        tokenizer: Tokenizer,
        *,
        length: int,
        on: On = "assistant",
        too_long: TooLong = "refuse",
        skip: bool = False,
        mend: bool = False,
        services: Services | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> Samples:
        """The samples of `files`, in their order, none longer than `length` tokens.

        A longer dialogue is refused, dropped, or cut at its end, and then dropped if nothing learned is left; a longer text is
        always cut into pieces, each of which begins with the last token of the one before it, so that all are learned.
        Raises DataError with file and line at the first fault, and for files without a sample. With `mend`, what can be put
        right is (`mends.mended`); with `skip`, records with other faults are left out and counted. `services`: the tools of
        each service, for records that name services.
        """
        assert length >= 2, "a sample predicts something"
        reading = _Reading(tokenizer, length, on, too_long, skip, mend)
        ends = []
        for path in files:
            reading.read(Path(path), services or {}, beat)
            ends.append(len(reading.lengths))
        if not reading.lengths:
            raise DataError(f"{', '.join(map(str, files)) or 'no file'}: there is nothing to learn; give other data")
        return cls(
            np.frombuffer(reading.ids, np.int32),
            np.frombuffer(reading.trained, np.bool_),
            np.array([0, *accumulate(reading.lengths)], np.int64),
            tuple(ends),
            reading.skipped,
            reading.dropped,
            reading.cut,
            reading.dialogues,
        )


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


class _Reading:
    """What was read so far."""

    def __init__(self, tokenizer: Tokenizer, length: int, on: On, too_long: TooLong, skip: bool, mend: bool) -> None:
        self.ids, self.trained, self.lengths = bytearray(), bytearray(), list[int]()
        self.skipped = self.dropped = self.cut = self.dialogues = 0
        self._tokenizer, self._length, self._on, self._too_long = tokenizer, length, on, too_long
        self._skip, self._mend = skip, mend

    def read(self, path: Path, services: Services, beat: Callable[[], None]) -> None:
        for found in read_dialogues(path, services):
            beat()
            try:
                samples = self._fitting(self._sound(found))
            except DataError as error:
                if not self._skip:
                    raise DataError(f"{found.place}: {error}") from None
                self.skipped += 1
                continue
            self._add(samples)
            self.dialogues += isinstance(found.said, Dialogue)

    def _add(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self.ids += np.array(sample.ids, np.int32).tobytes()
            self.trained += np.array(sample.trained, np.bool_).tobytes()
            self.lengths.append(len(sample.ids))

    def _sound(self, found: Found) -> Text | Dialogue:
        if found.said is None:
            raise DataError(found.fault)
        if isinstance(found.said, Text):
            return found.said
        said, faults = mended(found.said)
        if faults and not self._mend:
            raise DataError(faults[0])
        return said

    def _fitting(self, said: Text | Dialogue) -> list[Sample]:
        samples = encoded(self._tokenizer, said, self._on)
        if isinstance(said, Text):
            return list(pieces(samples[0], self._length))
        kept = []
        for sample in samples:
            whole = len(sample.ids) <= self._length
            if not whole and self._too_long == "refuse":
                raise refusal(sample, self._length)
            short = sample if whole else Sample(sample.ids[: self._length], sample.trained[: self._length])
            if whole or (self._too_long == "cut" and any(short.trained)):
                kept.append(short)
                self.cut += not whole
            else:
                self.dropped += 1
        return kept

"""Files of instruction data as training samples, flat in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mistral7b.data.instruct.encoding import Encoded, Encoding, TooLong
from mistral7b.data.instruct.parts import parts, worked
from mistral7b.data.instruct.shapes import Services
from mistral7b.errors import DataError
from mistral7b.tokens.dialogue import On, Sample
from mistral7b.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples end to end: `ids` int32 `[N]`, `trained` bool `[N]`, `borders` int64 `[S + 1]`, 0 and N included.

    `ends` says, for each file, how many samples there are up to its end. `dropped` and `cut` count those samples that were too
    long, `dialogues` those records that are no plain texts.
    """

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    borders: NDArray[np.int64]
    ends: tuple[int, ...]
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
        services: Services | None = None,
        processes: int = 1,
        beat: Callable[[], None] = lambda: None,
    ) -> Samples:
        """The samples of `files`, in their order, none longer than `length` tokens.

        A longer dialogue is refused, dropped, or cut at its end, and then dropped if nothing learned is left; a longer text is
        always cut into pieces, each of which begins with the last token of the one before it, so that all are learned.
        Raises DataError with file and line at the first fault, and for files without a sample. `services`: the tools of each
        service, for records that name services. Many dialogues are encoded in `processes` processes, to the same samples.
        """
        assert length >= 2, "a sample predicts something"
        whole, ends = Encoded(), list[int]()
        given = parts(files, services or {}, beat=beat)
        with closing(worked(Encoding(tokenizer, length, on, too_long), given, processes)) as made:
            for part in made:
                beat()
                if part.fault:
                    raise DataError(part.fault)
                whole.add(part)
                if part.is_last:
                    ends.append(len(whole.lengths))
        if not whole.lengths:
            raise DataError(f"{', '.join(map(str, files)) or 'no file'}: there is nothing to learn; give other data")
        return cls(
            np.frombuffer(whole.ids, np.int32),
            np.frombuffer(whole.trained, np.bool_),
            np.array([0, *accumulate(whole.lengths)], np.int64),
            tuple(ends),
            whole.dropped,
            whole.cut,
            whole.dialogues,
        )

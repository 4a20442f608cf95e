"""Dialogues of files in parts, which can be worked on by several processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from mistral7b.data.instruct.layouts import Found, read_dialogues
from mistral7b.data.instruct.shapes import Services
from mistral7b.data.processes import in_order
from mistral7b.errors import DataError

Made = TypeVar("Made")
_SIZE = 64  # dialogues, which are some 0.1 s of work
_FEW = 2000  # that are done before processes would have started


@dataclass(frozen=True, slots=True)
class Part:
    """Dialogues of one file, in its order, those of a record together; `is_last` of the file, which may hold none, and then
    `fault` is that of the file behind them, if any."""

    path: Path
    dialogues: tuple[Found, ...]
    is_last: bool = False
    fault: str | None = None


def parts(
    files: Sequence[Path], services: Services, *, size: int = _SIZE, beat: Callable[[], None] = lambda: None
) -> Iterator[Part]:
    """All that `files` say, in parts of `size` dialogues or a few more. `beat` is called for each dialogue."""
    for path in map(Path, files):
        held: list[Found] = []
        fault = None
        try:
            for found in read_dialogues(path, services):
                beat()
                if len(held) >= size and found.place != held[-1].place:
                    yield Part(path, tuple(held))
                    held = []
                held.append(found)
        except DataError as error:
            fault = str(error)
        yield Part(path, tuple(held), is_last=True, fault=fault)


def worked(work: Callable[[Part], Made], given: Iterator[Part], processes: int) -> Generator[Made, None, None]:
    """`work` on each part, in order, on `processes` processes (`in_order`); on this one if there are few dialogues."""
    first: list[Part] = []
    while processes > 1 and sum(len(part.dialogues) for part in first) < _FEW:
        if (part := next(given, None)) is None:
            processes = 1
        else:
            first.append(part)
    every = chain(first, given)
    yield from in_order(work, every, processes) if processes > 1 else map(work, every)

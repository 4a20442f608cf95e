"""Instruction data looked through before a run: every fault with its place, counts, and a corrected file."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import written
from mistral7b.data.instruct.encoding import TooLong, encoded, refusal
from mistral7b.data.instruct.layouts import Found
from mistral7b.data.instruct.mends import mended
from mistral7b.data.instruct.parts import Part, parts, worked
from mistral7b.data.instruct.records import Place
from mistral7b.data.instruct.shapes import Dialogue, Object, Services, Text
from mistral7b.errors import DataError
from mistral7b.tokens.dialogue import On, Sample
from mistral7b.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `mendable` where the corrected file still holds the record."""

    place: Place
    what: str
    mendable: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(slots=True)
class Report:
    """`records`, and of the sound and mendable ones `samples` with their `tokens`, those learned (`trained`), the `longest`
    and how many are `over` the length. `notes`: what rendering changes in a record, which is no fault. `unread`: how many
    records have each key that no layout reads. `kept`: records, or dialogues of one, that a corrected file holds."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    records: int = 0
    kept: int = 0
    samples: int = 0
    tokens: int = 0
    trained: int = 0
    longest: int = 0
    over: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, other: Report) -> None:
        """Takes up what was found in the part behind."""
        self.faults += other.faults
        self.notes += other.notes
        self.unread += other.unread
        self.records += other.records
        self.kept += other.kept
        self.samples += other.samples
        self.tokens += other.tokens
        self.trained += other.trained
        self.longest = max(self.longest, other.longest)
        self.over += other.over


def check(
    files: Sequence[Path],
    tokenizer: Tokenizer,
    *,
    length: int | None = None,
    on: On = "assistant",
    too_long: TooLong = "drop",
    services: Services | None = None,
    processes: int = 1,
) -> Report:
    """Every fault of `files` and what is in them; with `too_long` "refuse" a dialogue over `length` is one. A record that cannot
    be used is a fault, never an error; so is a file. Many are looked at in `processes` processes."""
    report, work = Report(), _Checking(tokenizer, length, on, too_long, writes=False)
    with closing(_lines(report, work, parts(files, services or {}), processes)) as lines:
        deque(lines, maxlen=0)
    return report


def corrected(
    files: Sequence[Path],
    target: Path,
    tokenizer: Tokenizer,
    *,
    length: int | None = None,
    on: On = "assistant",
    too_long: TooLong = "drop",
    services: Services | None = None,
    processes: int = 1,
) -> Report:
    """`check`, that also writes to `target`, whole or not at all, one JSON line for each text and dialogue: as they were, or
    mended, without those that cannot be. Raises DataError if it cannot be written, or nothing is left to write."""
    report, work = Report(), _Checking(tokenizer, length, on, too_long, writes=True)
    if any(Path(file).exists() and target.exists() and target.samefile(file) for file in files):
        raise DataError(f"{target} is one of the files to correct; name another")
    try:
        with written(target) as file, closing(_lines(report, work, parts(files, services or {}), processes)) as lines:
            file.writelines(lines)
            if not report.kept:
                raise DataError(f"nothing of {', '.join(map(str, files))} can be used; {target} was not written")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from None
    return report


def record_of(said: Text | Dialogue) -> Object:
    """The record that says it in this package's own layout."""
    if isinstance(said, Text):
        return {"text": said.text}
    messages: list[dict[str, Any]] = []
    for message, weight in zip(said.messages, said.weights, strict=True):
        messages.append(message if weight or message["role"] != "assistant" else {**message, "weight": 0})
    return {"messages": messages} | ({"tools": said.tools} if said.tools else {})


@dataclass(frozen=True, slots=True)
class _Checking:
    """What is done with a part, in any process: a report, and with `writes` the lines of a corrected file."""

    tokenizer: Tokenizer
    length: int | None
    on: On
    too_long: TooLong
    writes: bool

    def __call__(self, part: Part) -> tuple[Report, list[bytes]]:
        report, lines, last = Report(), list[bytes](), None
        for found in part.dialogues:
            if found.place != last:
                report.records += 1
                report.unread.update(found.unread)
                last = found.place
            if (said := self._usable(report, found)) is not None:
                report.kept += 1
                if self.writes:
                    lines.append(json.dumps(record_of(said), ensure_ascii=False).encode() + b"\n")
        if part.fault:
            what = part.fault.removeprefix(f"{part.path} ").removeprefix(f"{part.path}: ")
            report.faults.append(Fault(Place(part.path, 0), what, False))
        return report, lines

    def _usable(self, report: Report, found: Found) -> Text | Dialogue | None:
        length, said, faults = self.length, found.said, list[str]()
        if isinstance(said, Dialogue):
            said, faults = mended(said)
        notes: list[str] = []
        samples: list[Sample] = []
        try:
            if said is None:
                raise DataError(found.fault)
            samples = encoded(self.tokenizer, said, self.on, notes)
            longest = max(samples, key=lambda sample: len(sample.ids))
            if length is not None and len(longest.ids) > length and isinstance(said, Dialogue) and self.too_long == "refuse":
                samples = []
                raise refusal(longest, length)
        except DataError as error:
            faults.append(str(error))
        report.faults += (Fault(found.place, what, bool(samples)) for what in faults)
        report.notes += (Fault(found.place, what, True) for what in notes)
        for sample in samples:
            report.samples += 1
            report.tokens += len(sample.ids)
            report.trained += sum(sample.trained)
            report.longest = max(report.longest, len(sample.ids))
            report.over += length is not None and len(sample.ids) > length
        return said if samples else None


def _lines(report: Report, work: _Checking, given: Iterator[Part], processes: int) -> Generator[bytes, None, None]:
    """The lines of a corrected file; the report grows on the way."""
    with closing(worked(work, given, processes)) as made:
        for found, lines in made:
            report.add(found)
            yield from lines

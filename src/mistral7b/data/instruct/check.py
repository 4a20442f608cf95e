"""Instruction data looked through before a run: every fault with its place, counts, and a corrected file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import written
from mistral7b.data.instruct.layouts import Found, read_dialogues
from mistral7b.data.instruct.mends import mended
from mistral7b.data.instruct.records import Place
from mistral7b.data.instruct.samples import TooLong, encoded, refusal
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


def check(
    files: Sequence[Path],
    tokenizer: Tokenizer,
    *,
    length: int | None = None,
    on: On = "assistant",
    too_long: TooLong = "drop",
    services: Services | None = None,
) -> Report:
    """Every fault of `files` and what is in them; with `too_long` "refuse" a dialogue over `length` is one. A record that cannot
    be used is a fault, never an error; so is a file."""
    report = Report()
    for _ in _kept(report, files, tokenizer, length, on, too_long, services or {}):
        pass
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
) -> Report:
    """`check`, that also writes to `target`, whole or not at all, one JSON line for each text and dialogue: as they were, or
    mended, without those that cannot be. Raises DataError if it cannot be written, or nothing is left to write."""
    report = Report()
    if any(Path(file).exists() and target.exists() and target.samefile(file) for file in files):
        raise DataError(f"{target} is one of the files to correct; name another")
    try:
        with written(target) as file:
            for said in _kept(report, files, tokenizer, length, on, too_long, services or {}):
                file.write(json.dumps(record_of(said), ensure_ascii=False).encode() + b"\n")
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


def _kept(
    report: Report,
    files: Sequence[Path],
    tokenizer: Tokenizer,
    length: int | None,
    on: On,
    too_long: TooLong,
    services: Services,
) -> Iterator[Text | Dialogue]:
    """What can be used of `files`, mended where it must be; the report grows on the way."""
    for path in files:
        last = None
        try:
            for found in read_dialogues(path, services):
                if found.place != last:
                    report.records += 1
                    report.unread.update(found.unread)
                    last = found.place
                if (said := _usable(report, found, tokenizer, length, on, too_long)) is not None:
                    report.kept += 1
                    yield said
        except DataError as error:
            report.faults.append(Fault(Place(path, 0), str(error).removeprefix(f"{path} ").removeprefix(f"{path}: "), False))


def _usable(
    report: Report, found: Found, tokenizer: Tokenizer, length: int | None, on: On, too_long: TooLong
) -> Text | Dialogue | None:
    said, faults = found.said, list[str]()
    if isinstance(said, Dialogue):
        said, faults = mended(said)
    notes: list[str] = []
    samples: list[Sample] = []
    try:
        if said is None:
            raise DataError(found.fault)
        samples = encoded(tokenizer, said, on, notes)
        longest = max(samples, key=lambda sample: len(sample.ids))
        if length is not None and len(longest.ids) > length and isinstance(said, Dialogue) and too_long == "refuse":
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

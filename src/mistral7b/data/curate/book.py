"""What a step did, in numbers and examples: one book for each step of each task, added up at the end.

A book is a small JSON file, so a task that was finished before a kill still counts, and the sum does not depend on who ran what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXCERPT = 600  # characters of an example


@dataclass
class Tally:
    """Documents, UTF-8 bytes and tokens."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0

    def add(self, n_bytes: int, n_tokens: int, documents: int = 1) -> None:
        self.documents += documents
        self.bytes += n_bytes
        self.tokens += n_tokens

    def to_json(self) -> dict[str, int]:
        return {"documents": self.documents, "bytes": self.bytes, "tokens": self.tokens}


@dataclass
class Page:
    """One source's part of a book. `notes` counts what is worth telling and is no drop, such as lines skipped."""

    came: Tally = field(default_factory=Tally)
    went: Tally = field(default_factory=Tally)
    changed: int = 0
    dropped: dict[str, Tally] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "in": self.came.to_json(),
            "out": self.went.to_json(),
            "changed": self.changed,
            "dropped": {reason: tally.to_json() for reason, tally in sorted(self.dropped.items())},
            "notes": dict(sorted(self.notes.items())),
        }


class Book:
    """Pages by source, and examples: of everything kept and of every reason, the `samples` whose ids hash lowest."""

    def __init__(self, step: str, samples: int) -> None:
        self.step = step
        self.samples = samples
        self.pages: dict[str, Page] = {}
        self.examples: dict[str, list[dict[str, str]]] = {}

    def page(self, source: str) -> Page:
        return self.pages.setdefault(source, Page())

    def kept(self, source: str, id: str, text: str) -> None:
        self._example("", {"id": id, "source": source, "text": text})

    def dropped(self, source: str, id: str, text: str, reason: str, size: tuple[int, int], detail: str = "") -> None:
        self.page(source).dropped.setdefault(reason, Tally()).add(*size)
        self._example(reason, {"id": id, "source": source, "text": text, "detail": detail})

    def note(self, source: str, what: str, times: int = 1) -> None:
        notes = self.page(source).notes
        notes[what] = notes.get(what, 0) + times

    def _example(self, reason: str, example: dict[str, str]) -> None:
        if not self.samples:
            return
        order = hashlib.blake2b(f"{self.step}\0{example['id']}".encode(), digest_size=8).hexdigest()
        held = self.examples.setdefault(reason, [])
        if len(held) < self.samples or order < held[-1]["order"]:
            text = example["text"]
            held.append({**example, "text": text[:EXCERPT] + ("…" if len(text) > EXCERPT else ""), "order": order})
            held.sort(key=lambda one: (one["order"], one["id"]))
            del held[self.samples :]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pages = {source: page.to_json() for source, page in sorted(self.pages.items())}
        path.write_text(json.dumps({"step": self.step, "sources": pages, "examples": self.examples}), encoding="utf-8")


def read_books(step: str, paths: Iterable[Path], samples: int) -> Book:
    """The sum of the books of one step."""
    total = Book(step, samples)
    for path in paths:
        held = json.loads(path.read_text(encoding="utf-8"))
        for source, found in held["sources"].items():
            page = total.page(source)
            for tally, part in ((page.came, found["in"]), (page.went, found["out"])):
                tally.add(part["bytes"], part["tokens"], part["documents"])
            page.changed += found["changed"]
            for reason, part in found["dropped"].items():
                page.dropped.setdefault(reason, Tally()).add(part["bytes"], part["tokens"], part["documents"])
            for what, times in found["notes"].items():
                total.note(source, what, times)
        for reason, examples in held["examples"].items():
            for example in examples:
                total._example(reason, {key: value for key, value in example.items() if key != "order"})
    return total

"""A step: a datatrove block that keeps, changes or drops documents, and writes down what it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from mistral7b.data.curate.book import Book
from mistral7b.data.curate.recipe import Scope

BYTES_A_TOKEN = 4  # of English in a large vocabulary; used where the recipe names no tokenizer


@dataclass(frozen=True)
class Desk:
    """What every step of a stage is given: where books go, how many examples they hold, what counts tokens."""

    books: Path
    samples: int
    tokenizer: Path | None = None

    def size(self, text: str) -> tuple[int, int]:
        """(UTF-8 bytes, tokens) of a text."""
        n_bytes = len(text) if text.isascii() else len(text.encode())
        if self.tokenizer is None:
            return n_bytes, -(-n_bytes // BYTES_A_TOKEN)
        return n_bytes, len(_tokenizer(self.tokenizer).encode(text))


@lru_cache(maxsize=2)
def _tokenizer(path: Path):  # type: ignore[no-untyped-def] # mistral7b.tokens is imported only where it is wanted
    from mistral7b.tokens.tokenizer import Tokenizer

    return Tokenizer.load(path)


@dataclass(frozen=True)
class Dropped:
    """The reason that is counted, and what only an example shows."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Kept:
    """One document in place of the one judged, or several; `note` is counted."""

    documents: list[Document] = field(default_factory=list)
    note: str = ""


Verdict = Dropped | Kept | None  # None: kept, perhaps with its text changed in place


def in_scope(document: Document, scope: Scope) -> bool:
    held = document.metadata
    wanted = (("kind", scope.kinds), ("language", scope.languages), ("source", scope.sources))
    return all(names is None or held[key] in names for key, names in wanted)


class Step(PipelineStep):
    """Subclasses say in `judge` what becomes of a document. `begin` loads, in the worker, what must not travel there."""

    type = "CURATE"

    def __init__(self, name: str, desk: Desk, scope: Scope | None = None) -> None:
        self.name = name
        super().__init__()
        self.desk = desk
        self.scope = scope or Scope()
        self.book = Book(name, desk.samples)

    def begin(self, rank: int) -> None:
        """Called once before the first document of a task."""

    def judge(self, document: Document) -> Verdict:
        raise NotImplementedError

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        self.begin(rank)
        for document in data or ():
            yield from self._pass(document)
        self.book.save(self.desk.books / f"{rank:06d}" / f"{self.name}.json")

    def _pass(self, document: Document) -> Iterator[Document]:
        source, size, text = document.metadata["source"], document.metadata["size"], document.text
        page = self.book.page(source)
        page.came.add(*size)
        verdict = self.judge(document) if in_scope(document, self.scope) else None
        if isinstance(verdict, Dropped):
            self.book.dropped(source, document.id, text, verdict.reason, size, verdict.detail)
            return
        if verdict is not None and verdict.note:
            self.book.note(source, verdict.note)
        whole = verdict is None or not verdict.documents
        page.changed += not whole or document.text != text
        for kept in [document] if whole or verdict is None else verdict.documents:
            if kept.text is not text:
                kept.metadata["size"] = self.desk.size(kept.text)
            page.went.add(*kept.metadata["size"])
            self.book.kept(source, kept.id, kept.text)
            yield kept

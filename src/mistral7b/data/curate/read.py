"""The first block of a pipeline: the texts of a unit as documents."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from datatrove.data import Document

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.curate.files import write_json
from mistral7b.data.curate.plan import Unit
from mistral7b.data.curate.readers.raw import Bad, Found, Raw
from mistral7b.data.curate.recipe import CurateRecipe
from mistral7b.data.curate.step import Desk, Step
from mistral7b.errors import DataError

READ = "read"


class Read(Step):
    """Task `rank` reads unit `rank`. What is empty, or broken where the recipe lets that pass, is dropped and counted."""

    def __init__(self, desk: Desk, recipe: CurateRecipe, units: list[Unit], inputs: Path) -> None:
        super().__init__(READ, desk)
        self.inputs = inputs  # where the hashes of what is read are noted
        self.recipe = recipe
        self.units = units

    def run(self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        unit = self.units[rank]
        source = self.recipe.sources[unit.source]
        self.book.page(unit.source)
        reader = importlib.import_module(f"mistral7b.data.curate.readers.{source.reader}")
        if unit.part == 0:
            write_json(self.inputs / f"{rank:06d}.json", [[one.name, sha256_of(one.path)] for one in unit.inputs])
        for one in unit.inputs:
            found: Found = reader.read(one.path, one.name, source, unit.part, unit.parts)
            for raw in found:
                if isinstance(raw, Bad):
                    self._refuse(unit.source, raw)
                elif (document := self._document(unit.source, raw)) is not None:
                    yield document
        self.book.save(self.desk.books / f"{rank:06d}" / f"{self.name}.json")

    def _document(self, name: str, raw: Raw) -> Document | None:
        source, page = self.recipe.sources[name], self.book.page(name)
        text, id = raw.text, f"{name}/{raw.where}"
        size = self.desk.size(text)
        page.came.add(*size)
        if not text.strip():
            self.book.dropped(name, id, text, "empty", size)
            return None
        page.went.add(*size)
        self.book.kept(name, id, text)
        held = {
            "source": name,
            "kind": source.kind,
            "language": "",
            "licence": source.licence,
            **raw.extra,
            "size": size,
            "number": raw.number,
        }
        if source.language is not None:
            held["language"] = source.language
        return Document(text=text, id=id, metadata=held)

    def _refuse(self, name: str, bad: Bad) -> None:
        if self.recipe.on_bad_line == "refuse":
            raise DataError(f"source {name}, {bad.where}: {bad.why}; mend it, or set on_bad_line: skip")
        page, id = self.book.page(name), f"{name}/{bad.where}"
        page.came.add(0, 0)
        self.book.dropped(name, id, "", f"bad line: {bad.why.split(':')[0]}", (0, 0), bad.why)

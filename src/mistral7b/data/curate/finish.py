"""The last stage: the books added up, the mixture decided, manifest and report written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from mistral7b import __version__
from mistral7b.data.curate.book import Book, read_books
from mistral7b.data.curate.decontaminate import MATCHES
from mistral7b.data.curate.documents import SPLITS, gathered
from mistral7b.data.curate.files import sweep, write_json, written
from mistral7b.data.curate.mix import epochs
from mistral7b.data.curate.page import page
from mistral7b.data.curate.plan import Unit
from mistral7b.data.curate.recipe import CurateRecipe
from mistral7b.data.curate.toxicity import CLASSIFIER
from mistral7b.data.curate.work import Work
from mistral7b.data.documents import FORMAT
from mistral7b.errors import DataError

_MATCHES_SHOWN = 50  # in the report; contamination.jsonl has them all


class Finish(PipelineStep):
    """One task. `order` names the steps whose books there are. The manifest comes last: with it the folder is whole."""

    type, name = "CURATE", "finish"

    def __init__(self, recipe: CurateRecipe, raw: dict[str, Any], units: list[Unit], out: Path, order: list[str]) -> None:
        super().__init__()
        self.recipe, self.raw, self.units, self.out, self.order = recipe, raw, units, out, order

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        work, recipe = Work(self.out), self.recipe
        notes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.notes.glob("*.json"))]
        held = gathered(notes, recipe.sources)
        if not any(side["train"]["documents"] for side in held.values()):
            raise DataError(
                "no document is left for training: the report of each step is in the books under .work; ease the recipe"
            )
        times = epochs(recipe, held)
        sources = {
            name: {"kind": source.kind, "licence": source.licence, "epochs": times[name], **held[name]}
            for name, source in recipe.sources.items()
        }
        matches = self._matches(work)
        told = self._report(work, sources, matches)
        write_json(self.out / "report.json", told)
        with written(self.out / "report.html") as file:
            file.write(page(told).encode())
        if (work.prepared / CLASSIFIER).is_file():
            with written(self.out / CLASSIFIER) as file:
                file.write((work.prepared / CLASSIFIER).read_bytes())
        files = {name: entry for note in notes for name, entry in note["files"].items()}
        manifest = {"format": FORMAT, "made_by": f"mistral7b {__version__}", "recipe": self.raw, "input": self._input(work),
                    "files": dict(sorted(files.items())), "sources": sources}  # fmt: skip
        sweep(self.out)
        write_json(self.out / "manifest.json", manifest)
        yield from ()

    def _matches(self, work: Work) -> list[dict[str, Any]]:
        paths = sorted(work.books.glob(f"*/{MATCHES}.jsonl"))
        lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
        if self.recipe.steps.decontaminate is not None:
            with written(self.out / "contamination.jsonl") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
        return [json.loads(line) for line in lines]

    def _input(self, work: Work) -> dict[str, str]:
        """By source, a hash of the names and hashes of the files that were read."""
        found: dict[str, list[list[str]]] = {}
        for rank, unit in enumerate(self.units):
            if unit.part == 0:
                found.setdefault(unit.source, []).extend(
                    json.loads((work.inputs / f"{rank:06d}.json").read_text(encoding="utf-8"))
                )
        return {name: hashlib.sha256(json.dumps(files).encode()).hexdigest() for name, files in found.items()}

    def _report(self, work: Work, sources: dict[str, Any], matches: list[dict[str, Any]]) -> dict[str, Any]:
        prepared = work.prepared / "prepared.json"
        books = [read_books(step, sorted(work.books.glob(f"*/{step}.json")), self.recipe.samples) for step in self.order]
        return {
            "tokens": "counted" if self.recipe.tokenizer else "estimated, 4 bytes a token",
            "sources": sources,
            "total": {split: _sum([source[split] for source in sources.values()]) for split in SPLITS},
            "steps": [_step(book) for book in books],
            "prepared": json.loads(prepared.read_text(encoding="utf-8")) if prepared.is_file() else {},
            "contamination": {"matches": len(matches), "shown": matches[:_MATCHES_SHOWN]},
        }


def _step(book: Book) -> dict[str, Any]:
    pages = {name: held.to_json() for name, held in book.pages.items()}
    reasons = sorted({reason for held in pages.values() for reason in held["dropped"]})
    clean = {
        reason: [{key: value for key, value in one.items() if key != "order"} for one in held]
        for reason, held in book.examples.items()
    }
    return {
        "step": book.step,
        "in": _sum([held["in"] for held in pages.values()]),
        "out": _sum([held["out"] for held in pages.values()]),
        "changed": sum(held["changed"] for held in pages.values()),
        "dropped": {
            reason: _sum([held["dropped"][reason] for held in pages.values() if reason in held["dropped"]]) for reason in reasons
        },
        "sources": pages,
        "samples": {"kept": clean.pop("", []), "dropped": clean},
    }


def _sum(parts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(part[key] for part in parts) for key in ("documents", "bytes", "tokens")}

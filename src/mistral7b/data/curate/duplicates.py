"""Duplicates, exact and near: which documents say what an earlier one said.

Near ones are found by datatrove's MinHash blocks (signatures, then buckets); the clusters are made here, so that the first
document in the recipe's order stays, exact duplicates count as such, and who only met by chance can be told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from numpy.typing import NDArray

from mistral7b.data.curate.book import read_books
from mistral7b.data.curate.clusters import Ranked, exact_duplicates, near_duplicates
from mistral7b.data.curate.files import load_documents, save_documents, written
from mistral7b.data.curate.ngrams import WordHashes, runs
from mistral7b.data.curate.plan import Unit
from mistral7b.data.curate.read import READ
from mistral7b.data.curate.recipe import CurateRecipe, ExactDedup, MinHash, Scope
from mistral7b.data.curate.step import Desk, Dropped, Step, Verdict, in_scope
from mistral7b.data.curate.words import WORDS, plain_words
from mistral7b.data.curate.work import Work
from mistral7b.errors import DataError

EXACT, NEAR = "exact-dedup", "near-dedup"
_AT_A_TIME = 65_536  # n-grams hashed at once: a book must not take gigabytes


def fingerprint(text: str) -> bytes:
    """16 bytes of a text's words: case, blanks and punctuation do not count. A text of signs only is its own words."""
    return hashlib.blake2b((" ".join(plain_words(text)) or text).encode(), digest_size=16).digest()


class Save(PipelineStep):
    """The end of the first stage: what is left, its fingerprints, its ids."""

    type, name = "CURATE", "save"

    def __init__(self, folder: Path, exact: ExactDedup | None) -> None:
        super().__init__()
        self.folder = folder
        self.exact = exact

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        prints, ids = [], []
        for document in save_documents(self.folder / f"{rank:06d}.jsonl.zst", data):
            compared = self.exact is not None and in_scope(document, self.exact)
            prints.append(fingerprint(document.text) if compared else bytes(16))
            ids.append((document.id, document.metadata["number"]))
            yield document
        with written(self.folder / f"{rank:06d}.prints") as file:
            file.write(b"".join(prints))
        with written(self.folder / f"{rank:06d}.ids") as file:
            file.write(orjson.dumps(ids))


class Reread(PipelineStep):
    """What `Save` wrote. `only`: documents out of scope come without their text, so that nothing is compared with them."""

    type, name = "CURATE", "reread"

    def __init__(self, folder: Path, only: Scope | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.only = only

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        for document in load_documents(self.folder / f"{rank:06d}.jsonl.zst"):
            if self.only is not None and not in_scope(document, self.only):
                document.text = ""
            yield document


class Signatures(MinhashDedupSignature):
    """datatrove's block, with n-grams of this package's words, hashed as whole arrays and some at a time."""

    def __init__(self, folder: Path, settings: MinHash) -> None:
        super().__init__(str(folder), minhash_config(settings), language=WORDS)
        self._numbers = WordHashes()

    def get_shingles(self, text: str) -> NDArray[np.uint64]:
        return runs(self._numbers.of(plain_words(text)), self.config.n_grams).reshape(-1, 1)

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        parts = [super(Signatures, self).get_signature(shingles[i : i + _AT_A_TIME]) for i in range(0, len(shingles), _AT_A_TIME)]
        least = np.min(np.array(parts, dtype=np.uint64), axis=0)
        return [[int(value) for value in row] for row in least]


def minhash_config(settings: MinHash) -> MinhashConfig:
    return MinhashConfig(
        n_grams=settings.n_grams, num_buckets=settings.buckets, hashes_per_bucket=settings.hashes, seed=settings.seed
    )


class FindDuplicates(PipelineStep):
    """One task: from fingerprints and buckets to a list, for each task, of what it will drop and for which document."""

    type, name = "CURATE", "find duplicates"

    def __init__(self, recipe: CurateRecipe, units: list[Unit], work: Work) -> None:
        super().__init__()
        self.recipe, self.units, self.work = recipe, units, work

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        self._check_sources()
        work, minhash = self.work, self.recipe.steps.minhash
        ids = [orjson.loads((work.kept / f"{task:06d}.ids").read_bytes()) for task in range(len(self.units))]
        ranked = [
            [(task - unit.part, number, task, index) for index, (_, number) in enumerate(held)]
            for task, (unit, held) in enumerate(zip(self.units, ids, strict=True))
        ]
        exact = {one: (first, 1.0) for one, first in exact_duplicates(work.kept, ranked).items()}
        near: dict[Ranked, tuple[Ranked, float]] = {}
        if minhash is not None:
            near = near_duplicates(work.buckets, work.signatures, minhash, ranked, set(exact))
        lines: list[list[dict[str, Any]]] = [[] for _ in self.units]
        for step, found in ((EXACT, exact), (NEAR, near)):
            for (_, _, task, index), ((_, _, of, at), share) in sorted(found.items()):
                lines[task].append({"index": index, "step": step, "of": ids[of][at][0], "similarity": round(share, 4)})
        for task, held in enumerate(lines):
            with written(work.duplicates / f"{task:06d}.json") as file:
                file.write(orjson.dumps(held))
        yield from ()

    def _check_sources(self) -> None:
        """Every source gave something to read: an empty one is a wrong path more often than a wish."""
        book = read_books(READ, sorted(self.work.books.glob(f"*/{READ}.json")), 0)
        for source, page in book.pages.items():
            if not page.came.documents:
                raise DataError(f"source {source} is empty: its files hold no document")


class DropDuplicates(Step):
    """Drops what `FindDuplicates` listed for this step."""

    def __init__(self, name: str, desk: Desk, folder: Path) -> None:
        super().__init__(name, desk)
        self.folder = folder
        self._listed: dict[int, tuple[str, float]] = {}

    def begin(self, rank: int) -> None:
        lines = orjson.loads((self.folder / f"{rank:06d}.json").read_bytes())
        self._listed = {line["index"]: (line["of"], line["similarity"]) for line in lines if line["step"] == self.name}

    def judge(self, document: Document) -> Verdict:
        if (found := self._listed.get(document.metadata["index"])) is None:
            return None
        return Dropped("duplicate" if self.name == EXACT else "near duplicate", f"of {found[0]}, similarity {found[1]:.2f}")

"""The examples that a fine-tuning recipe names, as rows to train on and rows held out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mistral7b.data.instruct.layouts import read_services
from mistral7b.data.instruct.packing import Packed
from mistral7b.data.instruct.pairs import Pairs
from mistral7b.data.instruct.samples import Samples
from mistral7b.data.instruct.shapes import Services
from mistral7b.data.pack import IGNORED, Row
from mistral7b.data.permutation import Permutation
from mistral7b.errors import DataError
from mistral7b.kernels.native_room import processors
from mistral7b.tokens.dialogue import Sample
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.batches import Course, Rows
from mistral7b.train.finetune_recipe import Finetune, FinetuneData


@dataclass(frozen=True)
class Examples:
    """`held_out` by the name of its file; `sha256` of all that decides the rows to train on; `said` in one line."""

    train: Rows
    held_out: dict[str, Rows]
    has_dialogues: bool
    sha256: str
    said: str


class PairRows:
    """Each pair a row of two sequences, the preferred one first; every epoch in an order of its own."""

    def __init__(self, pairs: Pairs, epochs: float, seed: int) -> None:
        self._pairs, self._seed = pairs.pairs, seed
        self.rows = round(len(self._pairs) * epochs)

    def row(self, index: int) -> Row:
        """Row `index`, a function of seed and number."""
        epoch, place = divmod(index, len(self._pairs))
        return row_of(self._pairs[Permutation(len(self._pairs), f"pairs {self._seed} {epoch}")[place]])


def row_of(samples: Sequence[Sample]) -> Row:
    """Samples end to end, each a sequence of its own."""
    ids = np.array([id for sample in samples for id in sample.ids], dtype=np.int64)
    trained = np.array([mark for sample in samples for mark in sample.trained])
    targets = np.append(np.where(trained, ids, IGNORED)[1:], IGNORED)  # a sample's first id is never learned
    return Row(ids, targets, np.array([0, *accumulate(len(sample.ids) for sample in samples)], dtype=np.int64))


def read_examples(recipe: Finetune, tokenizer: Tokenizer, beat: Callable[[], None] = lambda: None) -> Examples:
    """`beat` is called now and then. Raises DataError naming file and line for an example that cannot be trained on."""
    return (_pairs if recipe.objective == "dpo" else _samples)(recipe.data, tokenizer, beat)


def read_samples(
    data: FinetuneData, tokenizer: Tokenizer, files: Sequence[Path], beat: Callable[[], None] = lambda: None
) -> Samples:
    """The samples of `files` as the recipe wants them. Raises DataError."""
    return Samples.read(
        files, tokenizer, length=data.length, on=data.loss_on, too_long=data.too_long, services=services_of(data),
        processes=encoders(), beat=beat,
    )  # fmt: skip


def encoders(most: int = 16) -> int:
    """Processes to encode in: this rank's share of the processors of its host, whose ranks all read the examples."""
    return max(1, min(most, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def services_of(data: FinetuneData) -> Services | None:
    """The tools of each service, if the recipe names a file of them. Raises DataError."""
    return None if data.tools is None else read_services(data.tools)


def _samples(data: FinetuneData, tokenizer: Tokenizer, beat: Callable[[], None]) -> Examples:
    found = read_samples(data, tokenizer, [each.path for each in data.train], beat)
    stages = sorted({each.stage for each in data.train})
    epochs = [[each.epochs if each.stage == stage else 0.0 for each in data.train] for stage in stages]
    train = Course([Packed(found, times, data.length, data.seed, data.packing) for times in epochs])
    held_out: dict[str, Rows] = {
        name: Packed(read_samples(data, tokenizer, [path], beat), 1.0, data.length, 0)
        for name, path in _named(data.held_out).items()
    }
    learned = int(found.trained.sum())
    said = f"{len(found):,} samples in {train.rows:,} rows, {len(found.ids):,} tokens an epoch, {learned:,} of them learned"
    if found.dropped or found.cut:
        said += f"; too long: {found.dropped:,} dropped, {found.cut:,} cut"
    return Examples(train, held_out, found.dialogues > 0, _digest(data, (found.ids, found.trained, found.borders)), said)


def _pairs(data: FinetuneData, tokenizer: Tokenizer, beat: Callable[[], None]) -> Examples:
    services = services_of(data)
    if data.too_long == "cut":
        raise DataError("data.too_long: cut would cut the replies of a pair unlike; take refuse or drop")
    too_long = data.too_long

    def read(*files: Path) -> Pairs:
        return Pairs.read(files, tokenizer, length=data.length, too_long=too_long, services=services, beat=beat)

    if len({(each.epochs, each.stage) for each in data.train}) > 1:
        raise DataError("files of pairs are read together; give them one number of epochs and one stage")
    found = read(*(each.path for each in data.train))
    held_out: dict[str, Rows] = {name: PairRows(read(path), 1.0, 0) for name, path in _named(data.held_out).items()}
    ids = [np.array(side.ids) for pair in found.pairs for side in pair]
    said = f"{len(found.pairs):,} pairs, {sum(map(len, ids)):,} tokens"
    if found.dropped:
        said += f"; too long: {found.dropped:,} dropped"
    return Examples(PairRows(found, data.train[0].epochs, data.seed), held_out, True, _digest(data, ids), said)


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Each by its name, or where two have one by all of its path."""
    names = [path.name for path in paths]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}


def _digest(data: FinetuneData, arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    made = sha256(repr((data.length, data.packing, data.seed, [(each.epochs, each.stage) for each in data.train])).encode())
    for array in arrays:
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()

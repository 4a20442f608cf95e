"""The examples that a fine-tuning recipe names, as rows to train on and rows held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate

import numpy as np

from mistral7b.data.instruct.packing import Packed
from mistral7b.data.instruct.pairs import Pair, read_pairs
from mistral7b.data.instruct.samples import Samples
from mistral7b.data.pack import IGNORED, Row
from mistral7b.data.permutation import Permutation
from mistral7b.errors import DataError
from mistral7b.tokens.dialogue import Sample
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.batches import Rows
from mistral7b.train.finetune_recipe import Examples as Files
from mistral7b.train.finetune_recipe import Finetune


@dataclass(frozen=True)
class Examples:
    """`held_out` by the name of its file; `sha256` of all that decides the rows to train on."""

    train: Rows
    held_out: dict[str, Rows]
    has_dialogues: bool
    sha256: str
    said: str

    def describe(self) -> str:
        return self.said


class PairRows:
    """Each pair a row of two sequences, the preferred one first; every epoch in an order of its own."""

    def __init__(self, pairs: Sequence[Pair], epochs: float, seed: int) -> None:
        self._pairs, self._seed = pairs, seed
        self.rows = round(len(pairs) * epochs)

    def row(self, index: int) -> Row:
        epoch, place = divmod(index, len(self._pairs))
        pair = self._pairs[Permutation(len(self._pairs), f"pairs {self._seed} {epoch}")[place]]
        return row_of((pair.chosen, pair.rejected))


def row_of(samples: Sequence[Sample]) -> Row:
    """Samples end to end as one row, each a sequence of its own."""
    ids = np.array([id for sample in samples for id in sample.ids], dtype=np.int64)
    targets = np.full(len(ids), IGNORED, dtype=np.int64)
    borders = np.array(list(accumulate((len(sample.ids) for sample in samples), initial=0)), dtype=np.int64)
    for begin, sample in zip(borders, samples, strict=False):
        wanted = np.flatnonzero(sample.trained)
        targets[begin + wanted - 1] = ids[begin + wanted]
    return Row(ids, targets, borders)


def read_examples(recipe: Finetune, tokenizer: Tokenizer) -> Examples:
    """Raises DataError naming file and line for an example that cannot be trained on."""
    data = recipe.data
    if recipe.objective == "dpo":
        pairs = _read_pairs(data.train, recipe, tokenizer)
        train: Rows = PairRows(pairs, _one_epochs(data.train), data.seed)
        held_out: dict[str, Rows] = {
            each.path.name: PairRows(_read_pairs((each,), recipe, tokenizer), 1.0, 0) for each in data.held_out
        }
        ids = [np.array(side.ids, dtype=np.int64) for pair in pairs for side in (pair.chosen, pair.rejected)]
        said = f"{len(pairs):,} pairs, {sum(map(len, ids)):,} tokens"
        return Examples(train, held_out, True, _digest(recipe, *ids), said)
    samples = _read(data.train, recipe, tokenizer)
    train = Packed(samples, [each.epochs for each in data.train], data.length, data.seed, packing=data.packing)
    held_out = {
        each.path.name: Packed(_read((each,), recipe, tokenizer), [1.0], data.length, 0, packing=True) for each in data.held_out
    }
    said = f"{len(samples):,} samples, {samples.tokens:,} tokens, {samples.trained_tokens:,} of them learned"
    return Examples(train, held_out, samples.has_dialogues, _digest(recipe, samples.ids, samples.trained, samples.borders), said)


def _read(files: Sequence[Files], recipe: Finetune, tokenizer: Tokenizer) -> Samples:
    data = recipe.data
    return Samples.read(
        [(each.path, each.tools) for each in files], tokenizer, on=data.loss_on, too_long=data.too_long, length=data.length
    )


def _read_pairs(files: Sequence[Files], recipe: Finetune, tokenizer: Tokenizer) -> list[Pair]:
    data = recipe.data
    found = [pair for each in files for pair in read_pairs(each.path, tokenizer, tools=each.tools)]
    longest = max(max(len(pair.chosen.ids), len(pair.rejected.ids)) for pair in found)
    if longest > data.length:
        raise DataError(f"a reply with its prompt is {longest:,} tokens and data.length is {data.length:,}; raise it")
    return found


def _one_epochs(files: Sequence[Files]) -> float:
    epochs = {each.epochs for each in files}
    if len(epochs) > 1:
        raise DataError("files of pairs are read together; give them one number of epochs")
    return epochs.pop()


def _digest(recipe: Finetune, *arrays: np.ndarray) -> str:  # type: ignore[type-arg]
    made = sha256(repr((recipe.data.length, recipe.data.packing, recipe.data.seed)).encode())
    made.update(repr([each.epochs for each in recipe.data.train]).encode())
    for array in arrays:
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()

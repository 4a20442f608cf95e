"""A small classifier of text: logistic regression over hashed words, pairs of words and letters, in numpy.

Features are hashed into `buckets` (no vocabulary, Weinberger et al. 2009), each present or not, scaled to unit length; weights
come from AdaGrad in a fixed order, so the same labelled lines give the same classifier. It is kept as .npz without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mistral7b.data.curate.recipe import Classifier
from mistral7b.data.curate.words import plain_words
from mistral7b.errors import DataError

Floats = NDArray[np.float32]
_DECAY = 1e-4


@dataclass(frozen=True)
class Measured:
    """Of a labelled file: precision is the share of what was called 1 that is 1, recall the share of 1 that was called 1."""

    texts: int
    positive: int
    precision: float
    recall: float

    def to_json(self) -> dict[str, float]:
        return {"texts": self.texts, "positive": self.positive, "precision": self.precision, "recall": self.recall}


@dataclass(frozen=True)
class TextClassifier:
    """`weights` [buckets] and a bias; a score of 0 means probability one half."""

    weights: Floats
    bias: float

    def probability(self, text: str, window: int) -> float:
        """Of label 1, for the worst window of so many words."""
        words = plain_words(text)
        starts = range(0, max(1, len(words) - window // 2), max(1, window // 2))
        return max(self._one(words[start : start + window]) for start in starts)

    def _one(self, words: Sequence[str]) -> float:
        held = features(words, len(self.weights))
        score = float(self.weights[held].sum()) / max(1.0, len(held) ** 0.5) + self.bias
        return float(1 / (1 + np.exp(-np.clip(score, -60, 60))))

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, weights=self.weights, bias=np.float64(self.bias))

    @classmethod
    def load(cls, path: Path) -> TextClassifier:
        with np.load(path, allow_pickle=False) as held:
            return cls(held["weights"], float(held["bias"]))


def features(words: Sequence[str], buckets: int) -> NDArray[np.int64]:
    """Distinct buckets of the words, of pairs in a row, and of the letters of each word by three."""
    found: set[int] = set()
    for i, word in enumerate(words):
        found.add(xxhash.xxh3_64_intdigest(word.encode()) % buckets)
        if i:
            found.add(xxhash.xxh3_64_intdigest(f"{words[i - 1]} {word}".encode()) % buckets)
        marked = f"<{word}>"
        found.update(xxhash.xxh3_64_intdigest(f"*{marked[j : j + 3]}".encode()) % buckets for j in range(len(marked) - 2))
    return np.fromiter(sorted(found), dtype=np.int64, count=len(found))


def train(settings: Classifier) -> TextClassifier:
    """From the labelled file `settings.train`; raises DataError if it lacks one of the labels."""
    texts, labels = labelled(settings.train)
    if len(set(labels)) < 2:
        raise DataError(f"{settings.train}: every label is {labels[0]}; a classifier needs both 0 and 1")
    rows = [features(plain_words(text), settings.buckets) for text in texts]
    weights, seen, bias, bias_seen = np.zeros(settings.buckets, np.float32), np.zeros(settings.buckets, np.float32), 0.0, 0.0
    share = sum(labels) / len(labels)
    balance = (0.5 / (1 - share), 0.5 / share)  # both labels weigh the same, however rare one is
    order = np.random.default_rng(settings.seed)
    for _ in range(settings.passes):
        for i in order.permutation(len(rows)):
            row, scale = rows[i], 1 / max(1.0, len(rows[i]) ** 0.5)
            score = float(weights[row].sum()) * scale + bias
            slope = (1 / (1 + np.exp(-np.clip(score, -60, 60))) - labels[i]) * balance[labels[i]]
            slopes = slope * scale + _DECAY * weights[row]
            seen[row] += slopes**2
            weights[row] -= slopes / np.sqrt(seen[row] + 1e-8)
            bias_seen += slope**2
            bias -= 0.1 * slope / (bias_seen + 1e-8) ** 0.5
    return TextClassifier(weights, float(bias))


def measure(classifier: TextClassifier, settings: Classifier) -> Measured:
    """Precision and recall on the file `settings.test` at the recipe's threshold."""
    texts, labels = labelled(settings.test)
    called = [classifier.probability(text, settings.window) >= settings.threshold for text in texts]
    right = sum(1 for is_called, label in zip(called, labels, strict=True) if is_called and label)
    return Measured(len(texts), sum(labels), right / max(1, sum(called)), right / max(1, sum(labels)))


def labelled(path: Path) -> tuple[list[str], list[int]]:
    """(Texts, labels) of a JSONL file; raises DataError naming the line that has none."""
    texts, labels = [], []
    for number, held in _lines(path):
        text, label = (held.get("text"), held.get("label")) if isinstance(held, dict) else (None, None)
        if not isinstance(text, str) or label not in (0, 1):
            raise DataError(f'{path}:{number}: not {{"text": "...", "label": 0 or 1}}')
        texts.append(text)
        labels.append(int(label))
    if not texts:
        raise DataError(f"{path} holds no labelled lines")
    return texts, labels


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the labelled file cannot be read ({getattr(error, 'strerror', None) or error})") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                raise DataError(f"{path}:{number}: not JSON") from None

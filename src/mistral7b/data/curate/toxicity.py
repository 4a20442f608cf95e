"""Toxic text: by words that hardly occur elsewhere, then by a classifier if the recipe trains one."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

from datatrove.data import Document

from mistral7b.data.curate.classifier import TextClassifier
from mistral7b.data.curate.recipe import Toxicity
from mistral7b.data.curate.step import Desk, Dropped, Step, Verdict
from mistral7b.data.curate.words import plain_words
from mistral7b.errors import DataError

CLASSIFIER = "toxicity.npz"
_OWN = ("en", "fr")


class ToxicityStep(Step):
    """`made` is the folder in which the classifier was trained."""

    def __init__(self, desk: Desk, settings: Toxicity, made: Path) -> None:
        super().__init__("toxicity", desk, settings)
        self.settings = settings
        self.made = made
        self._lists: dict[str, frozenset[str]] = {}
        self._classifier: TextClassifier | None = None

    def begin(self, rank: int) -> None:
        self._lists = word_lists(self.settings)
        if self.settings.classifier is not None:
            self._classifier = TextClassifier.load(self.made / CLASSIFIER)

    def judge(self, document: Document) -> Verdict:
        rules, words = self.settings, plain_words(document.text)
        language = document.metadata["language"]
        # A text whose language nobody recognised, or that has no list of its own, is held against all of them.
        held = self._lists.get(language) or frozenset().union(*self._lists.values())
        if rules.max_per_thousand is not None and words:
            hits = [word for word in words if word in held]
            if len(hits) >= rules.min_hits and 1000 * len(hits) / len(words) > rules.max_per_thousand:
                return Dropped("listed words", f"{len(hits)} in {len(words):,} words")
        if self._classifier is not None and rules.classifier is not None:
            probability = self._classifier.probability(document.text, rules.classifier.window)
            if probability >= rules.classifier.threshold:
                return Dropped("classifier", f"probability {probability:.2f}")
        return None


def word_lists(settings: Toxicity) -> dict[str, frozenset[str]]:
    """By language; the package's own unless the recipe names files."""
    if settings.words is not None:
        return {language: read_words(path) for language, path in settings.words.items()}
    folder = resources.files("mistral7b.data.curate") / "lists"
    return {language: _words((folder / f"{language}.txt").read_text(encoding="utf-8")) for language in _OWN}


@lru_cache(maxsize=16)
def read_words(path: Path) -> frozenset[str]:
    """One word a line; `#` begins a comment."""
    try:
        return _words(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of words cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _words(text: str) -> frozenset[str]:
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return frozenset(word for line in lines for word in plain_words(line))

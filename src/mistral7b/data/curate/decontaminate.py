"""Out with what a model will be asked: documents that hold a prompt, or the lines of them that do."""

from __future__ import annotations

import json
from pathlib import Path

from datatrove.data import Document

from mistral7b.data.curate.ngrams import Index, WordHashes
from mistral7b.data.curate.recipe import Decontaminate
from mistral7b.data.curate.step import Desk, Dropped, Kept, Step, Verdict
from mistral7b.data.curate.words import plain_spans, plain_words

PROMPTS = "prompts"  # the folder of the index, within what was prepared
MATCHES = "matches"
_SHOWN = 30  # words of a match


class DecontaminateStep(Step):
    """Writes down every match: document, prompt file and line, the words that are in both."""

    def __init__(self, desk: Desk, settings: Decontaminate, made: Path) -> None:
        super().__init__("decontaminate", desk, settings)
        self.settings = settings
        self.made = made
        self._index: Index | None = None
        self._hashes = WordHashes()
        self._matches: Path | None = None

    def begin(self, rank: int) -> None:
        self._index = Index.load(self.made / PROMPTS)
        self._matches = self.desk.books / f"{rank:06d}" / f"{MATCHES}.jsonl"
        self._matches.parent.mkdir(parents=True, exist_ok=True)
        self._matches.write_text("", encoding="utf-8")

    def judge(self, document: Document) -> Verdict:
        assert self._index is not None
        words = plain_words(document.text)
        numbers = self._hashes.of(words)
        hits = [(start, table.n, prompt) for table in self._index.tables for start, prompt in table.find(numbers)]
        if not hits:
            return None
        passages = merged(hits)
        self._report(document.id, words, passages)
        shown = " ".join(words[passages[0][0] : passages[0][1]][:_SHOWN])
        if self.settings.action == "drop":
            return Dropped("holds a prompt", shown)
        document.text = without(document.text, [(start, end) for start, end, _ in passages])
        left = len(document.text.strip())
        return Kept(note="passages cut") if left >= self.settings.min_left else Dropped("little left after the cut", shown)

    def _report(self, id: str, words: list[str], passages: list[tuple[int, int, int]]) -> None:
        assert self._index is not None
        assert self._matches is not None
        with self._matches.open("a", encoding="utf-8") as file:
            for start, end, prompt in passages:
                name, line = self._index.places[prompt]
                held = {"document": id, "prompt": name, "line": line, "words": " ".join(words[start:end])}
                file.write(json.dumps(held, ensure_ascii=False) + "\n")


def merged(hits: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Hits (start, length, prompt) as passages (start, end, first prompt), those that touch or overlap made one."""
    passages: list[tuple[int, int, int]] = []
    for start, n, prompt in sorted(hits):
        if passages and start <= passages[-1][1]:
            first, end, held = passages[-1]
            passages[-1] = (first, max(end, start + n), held)
        else:
            passages.append((start, start + n, prompt))
    return passages


def without(text: str, passages: list[tuple[int, int]]) -> str:
    """`text` less every line that holds a word of the passages, each (first word, past the last)."""
    spans = plain_spans(text)
    left, at = [], 0
    for start, end in passages:
        begin = max(at, text.rfind("\n", 0, spans[start][0]) + 1)
        stop = text.find("\n", spans[end - 1][1])
        left.append(text[at:begin])
        at = max(at, len(text) if stop < 0 else stop + 1)
    return "".join([*left, text[at:]]).strip("\n")

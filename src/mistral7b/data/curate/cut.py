"""Long documents in parts of about equal length, cut where a reader would pause."""

from __future__ import annotations

import re
from collections.abc import Iterator

from datatrove.data import Document

from mistral7b.data.curate.recipe import SplitLong
from mistral7b.data.curate.step import Desk, Kept, Step, Verdict

_PAUSES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?…])\s"), re.compile(r"\s"))


def parts(text: str, characters: int) -> Iterator[str]:
    """`text` in order, in ceil(len / characters) parts or one or two more, each of at most `characters`: cut at the last
    paragraph end, else line end, sentence end or blank, in the last quarter of what may be taken; else right there."""
    while len(text) > characters:
        wanted = min(characters, -(-len(text) // -(-len(text) // characters)) * 9 // 8)
        at = next(
            (found[-1] for pause in _PAUSES if (found := [m.end() for m in pause.finditer(text, wanted * 3 // 4, wanted)])),
            wanted,
        )
        yield text[:at].strip("\n")
        text = text[at:]
    if text.strip():
        yield text.strip("\n")


class SplitLongStep(Step):
    def __init__(self, desk: Desk, settings: SplitLong) -> None:
        super().__init__("split-long", desk, settings)
        self.settings = settings

    def judge(self, document: Document) -> Verdict:
        if len(document.text) <= self.settings.characters:
            return None
        made = [part for part in parts(document.text, self.settings.characters) if part]
        documents = [
            Document(text=part, id=f"{document.id}#{i}", metadata=dict(document.metadata)) for i, part in enumerate(made, start=1)
        ]
        return Kept(documents, note="documents split")

"""One form for one text."""

from __future__ import annotations

import re
import unicodedata

from datatrove.data import Document

from mistral7b.data.curate.recipe import Normalise
from mistral7b.data.curate.step import Desk, Dropped, Step, Verdict

_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u0085\x0b\x0c]|\u2029")
# Control characters but tab and newline; what only steers direction or width; the byte order mark. Joiners (ZWJ, ZWNJ) stay:
# scripts and emoji need them.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_TRAILING = re.compile(r"[^\S\n]+$", re.MULTILINE)


def normalised(text: str, form: str = "NFC", blank_lines: int = 2) -> str:
    """`text` with one kind of line end, no invisible characters, no blanks at line ends, at most `blank_lines` in a row."""
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    if not unicodedata.is_normalized(form, text):  # type: ignore[arg-type] # one of the two forms the recipe allows
        text = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    text = _TRAILING.sub("", text)
    return re.sub(rf"\n{{{blank_lines + 2},}}", "\n" * (blank_lines + 1), text).strip("\n")


class NormaliseStep(Step):
    def __init__(self, desk: Desk, settings: Normalise) -> None:
        super().__init__("normalise", desk, settings)
        self.settings = settings

    def judge(self, document: Document) -> Verdict:
        document.text = normalised(document.text, self.settings.unicode, self.settings.blank_lines)
        return None if document.text.strip() else Dropped("nothing left")

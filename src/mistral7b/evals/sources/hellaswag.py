"""HellaSwag: which of four endings follows.

Upstream keeps a context in two parts, and lm-eval begins the second, an unfinished sentence, with a capital. Flat copies hold
both parts in one text. There the last part is found again: every context cut in mid-sentence (those of ActivityNet) ends without
a full stop, and its fragment begins after the last finished sentence, in small letters.
"""

from __future__ import annotations

import bz2
import re
from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.sources.files import Folder, Row, Splits, fields, index

_ENDED = re.compile(r"""[.!?"')\]]$""")
_SENTENCE = re.compile(r"""(?<=[.!?"'])\s+""")
_UPSTREAM, _TEXT, _FLAT = (
    f"hellaswag/{name}" for name in ("hellaswag_val.jsonl", "hellaswag_val_full.txt.bz2", "hellaswag_val_first300.jsonl")
)


def read(folder: Folder, _: str) -> Splits:
    """The upstream file if it is there, else the text with six lines an item, else a flat JSON file."""
    if folder.has(_UPSTREAM):
        return {"validation": folder.jsonl(_UPSTREAM, _upstream)}
    if folder.has(_TEXT) or not folder.has(_FLAT):
        return {"validation": _text(folder)}
    return {"validation": folder.jsonl(_FLAT, _flat)}


def _upstream(held: Any) -> Row:
    label, first, second, answer, endings = fields(held, "activity_label", "ctx_a", "ctx_b", "label", "endings")
    return _row(label, first, second, endings, answer)


def _flat(held: Any) -> Row:
    label, context, answer, endings = fields(held, "activity_label", "ctx", "label", "endings")
    return _row(label, *halves(context), endings, answer)


def _text(folder: Folder) -> list[Row]:
    lines = folder.lines(_TEXT, bz2.decompress)
    if len(lines) % 6:
        raise DataError(f"{folder.path / _TEXT} has {len(lines):,} lines, no multiple of the six of an item; fetch it again")
    return folder.rows(_TEXT, [lines[at : at + 6] for at in range(0, len(lines), 6)], _lines)


def _lines(held: list[str]) -> Row:
    label, separator, context = held[0].partition(": ")
    if not separator:
        raise ValueError("the first line is not an activity, a colon and the context")
    return _row(label, *halves(context), held[2:], held[1])


def _row(label: str, first: str, second: str, endings: list[str], answer: Any) -> Row:
    if len(endings) != 4:
        raise ValueError(f"{len(endings)} endings, not four")
    return {
        "activity_label": label, "ctx_a": first, "ctx_b": second, "endings": endings, "label": str(index(answer, 4)),
    }  # fmt: skip


def halves(context: str) -> tuple[str, str]:
    """The finished sentences, and the fragment that follows them: "A man sits. he" is ("A man sits.", "he")."""
    *sentences, last = _SENTENCE.split(context)
    if not sentences or _ENDED.search(context) or last[:1].isupper():
        return context, ""
    return context[: len(context) - len(last)].rstrip(), last

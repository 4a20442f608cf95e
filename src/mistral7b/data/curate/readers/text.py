"""Plain text: one file a document."""

from __future__ import annotations

from pathlib import Path

from mistral7b.data.curate.readers.raw import Bad, Found, Raw, opened
from mistral7b.data.curate.recipe import Source

EXTENSIONS = [".txt", ".md", ".rst"]


def read(path: Path, name: str, source: Source, part: int, parts: int) -> Found:  # noqa: ARG001 all readers are called alike
    """The one text of the file."""
    text = utf8(path)
    yield Bad(name, "not UTF-8 text") if text is None else Raw(text, name)


def utf8(path: Path) -> str | None:
    """The file as text (a byte order mark is no part of it); None if it is not UTF-8."""
    with opened(path) as file:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            return None

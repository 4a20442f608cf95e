"""JSON lines: one object a line, its text under a key; plain, .gz, .bz2 or .zst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from mistral7b.data.curate.readers.raw import Bad, Found, Raw, opened
from mistral7b.data.curate.recipe import Source


def read(path: Path, name: str, source: Source, part: int, parts: int) -> Found:
    """Lines `part`, `part + parts`, ... of the file (line numbers in messages and ids count from 1). Blank lines are no lines."""
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if (number - 1) % parts != part or not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                held = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Bad(where, f"not JSON: {error.msg}")
                continue
            yield from_object(held, where, source, number)


def from_object(held: Any, where: str, source: Source, number: int) -> Raw | Bad:
    """A text of one JSON object or table row."""
    if not isinstance(held, dict):
        return Bad(where, "not a JSON object")
    text = held.get(source.text_key)
    if not isinstance(text, str):
        return Bad(where, f"no text under {source.text_key!r}")
    extra = {key: str(held[key]) for key in source.keep if held.get(key) not in (None, "")}
    return Raw(text, where, extra, number)

"""Documents for `tiny`: the corpus folder's JSONL files, split into training and held-out text by a hash of the text."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

# Passes over each source in the first version: the simple ones oversampled, the long books sampled.
EPOCHS = {
    "tinystories_excerpt": 8.0,
    "storybooks_ccby": 4.0,
    "gutenberg_children": 0.25,
    "lcats_short_stories": 0.05,
    "classics_simple": 0.05,
}


def held_out(text: str) -> bool:
    """True for the two documents in a hundred that training never sees; the same everywhere, whatever the order."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 50 == 0


def documents(folder: Path, source: str, *, want_held_out: bool) -> Iterator[str]:
    """The texts of one source on one side of the split."""
    with gzip.open(folder / f"{source}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"].strip()
            if text and held_out(text) is want_held_out:
                yield text


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each source file, for the model card and the source list."""
    return {source: hashlib.sha256((folder / f"{source}.jsonl.gz").read_bytes()).hexdigest() for source in EPOCHS}

"""What was fetched and checked, noted before it leaves the quarantine, so that a kill on the way out loses nothing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import written
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.checkpoint.report import Check
from mistral7b.release.http import Stated
from mistral7b.release.sources import Source
from mistral7b.release.ways import Fetch

_NOTE = "settling"


def is_settling(room: Path) -> bool:
    """Whether an earlier call was cut off while its files left the quarantine `room`."""
    return (room / _NOTE).is_file()


def note_settling(fetch: Fetch, key: str, origin: Check, ready: Path, files: Mapping[str, FileHash]) -> None:
    """Notes that `files`, all of the folder `ready`, are about to leave for the model `key`; they came from `origin`."""
    note = {
        "key": key,
        "origin": [origin.name, origin.status, origin.detail],
        "ready": str(ready.relative_to(fetch.room)),
        "came": str(fetch.folder.relative_to(fetch.room)),
        "source": asdict(fetch.source),
        "torrent": None if fetch.torrent is None else str(fetch.torrent.relative_to(fetch.room)),
        "files": {name: file.to_json() for name, file in files.items()},
    }
    with written(fetch.room / _NOTE) as out:
        out.write(json.dumps(note).encode())


def take_up(fetch: Fetch, key: str) -> tuple[Check, Path] | None:
    """(Where they came from, the folder of them) of files that were on their way out; what the store has taken by then is given
    back. None where there are none: what stands in the room for another model, or cannot be made whole, is thrown away."""
    if not is_settling(fetch.room):
        return None
    note = json.loads((fetch.room / _NOTE).read_bytes())
    ready = fetch.room / note["ready"]
    files = {name: FileHash(file["sha256"], file["size"]) for name, file in note["files"].items()}
    if note["key"] == key and ready.is_dir() and all(_is_back(fetch, ready / name, file) for name, file in files.items()):
        fetch.folder = fetch.room / note["came"]
        fetch.torrent = None if note["torrent"] is None else fetch.room / note["torrent"]
        fetch.source = _source(note["source"])
        return Check(*note["origin"]), ready
    for path in sorted(fetch.room.iterdir(), key=lambda path: path.name == _NOTE):  # the note last, for a kill here
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return None


def _source(noted: dict[str, Any]) -> Source:
    lists = {name: tuple(value) for name, value in noted.items() if isinstance(value, list)}
    return Source(**{**noted, **lists, "stated": Stated(**noted["stated"])})


def _is_back(fetch: Fetch, path: Path, file: FileHash) -> bool:
    return (path.is_file() and path.stat().st_size == file.size) or fetch.take(file.sha256, path)

"""manifest.json of a folder of documents or of token shards: read with suspicion, since every file name in it is opened."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mistral7b.checkpoint.manifest import FileHash
from mistral7b.errors import DataError

MANIFEST = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def read_manifest(folder: Path, format: str, maker: str) -> tuple[dict[str, Any], str]:
    """(The manifest of `folder`, sha256 of its bytes). Raises DataError if it is missing or of another format."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{folder} has no {MANIFEST}: it is not what {maker} makes, or that did not finish; run it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object; run {maker} again")
    if found.get("format") != format:
        raise DataError(f"{path} is of the format {str(found.get('format'))!r:.40}, not {format!r}; give a folder of {maker}")
    return found, hashlib.sha256(raw).hexdigest()


def table_of_files(path: Path, manifest: Mapping[str, Any]) -> dict[str, FileHash]:
    """The files that the manifest at `path` names, all of them inside its folder. Raises DataError otherwise."""
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise DataError(f"{path} has no table of files")
    found: dict[str, FileHash] = {}
    for name, value in files.items():
        sha256, size = (value.get("sha256"), value.get("size")) if isinstance(value, dict) else (None, None)
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts or "\\" in name or not name.isprintable():
            raise DataError(f"{path} names {name!r:.80}, which is no file inside its folder")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or not isinstance(size, int) or isinstance(size, bool):
            raise DataError(f"{path} gives {name} no sha256 and size")
        found[name] = FileHash(sha256, size)
    return found


def each_source(path: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and facts of every source, each with a number of `epochs`; DataError for a table that is not of that form."""
    sources = manifest.get("sources")
    if not isinstance(sources, dict) or not sources:
        raise DataError(f"{path} has no table of sources")
    for name, value in sources.items():
        epochs = value.get("epochs") if isinstance(value, dict) else None
        if not isinstance(epochs, int | float) or isinstance(epochs, bool) or not 0 <= epochs < math.inf:
            raise DataError(f"{path} gives the source {name} no number of epochs")
        if not re.fullmatch(r"[^/\\]+", name) or name in (".", ".."):
            raise DataError(f"{path} names a source {name!r:.80}, which cannot be a folder")
        yield name, value


def check_sizes(folder: Path, files: Mapping[str, FileHash]) -> None:
    """Raises DataError for the first file that is missing or of another size than stated."""
    for name, held in files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise DataError(f"{folder / name} is missing or cannot be read ({error.strerror}); make the folder again") from None
        if size != held.size:
            raise DataError(f"{folder / name} has {size:,} bytes where its manifest states {held.size:,}; make the folder again")

"""manifest.json: the files of a model folder with their sizes and sha256, written once and held against the disk later."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from mistral7b.checkpoint.aside import MODEL_FILES, aside
from mistral7b.checkpoint.configs import read_object
from mistral7b.checkpoint.digest import sha256_of
from mistral7b.errors import CheckpointError, ConfigError

MANIFEST = "manifest.json"
_PATTERNS = (*MODEL_FILES, "*.pth", "*.gguf")
_MOST_BYTES = 16 << 20  # of a manifest: a thousand files take a fifth of one MiB
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileHash:
    """`sha256` in lower-case hex, `size` in bytes."""

    sha256: str
    size: int

    def to_json(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "size": self.size}


def model_files(folder: Path) -> list[Path]:
    """The files of `folder` that make it a model, by name; not its manifest, nor anything else that lies there."""
    held = (path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    return sorted(path for path in held if any(fnmatchcase(path.name, pattern) for pattern in _PATTERNS))


def hash_files(files: list[Path], read: Callable[[int], None] | None = None) -> dict[str, FileHash]:
    """Name -> hash of each file; `read` is told the bytes read. Raises CheckpointError for one that cannot be read."""
    hashes: dict[str, FileHash] = {}
    for path in files:
        try:
            hashes[path.name] = FileHash(sha256_of(path, read), path.stat().st_size)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    return hashes


def write_manifest(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes `folder`/manifest.json over every file of the model and returns its path; an older one is replaced.

    The same files give the same bytes. `progress` is told (bytes read, bytes in all). Raises CheckpointError if there is no
    model there, or if the file cannot be written.
    """
    files = model_files(folder) if folder.is_dir() else []
    if not files:
        raise CheckpointError(f"{folder} holds no model file; give the folder of a model")
    total, done = sum(path.stat().st_size for path in files), 0

    def read(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress is not None:
            progress(done, total)

    value = {"files": {name: found.to_json() for name, found in hash_files(files, read).items()}}
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    target = folder / MANIFEST
    with aside(target, needs=len(text.encode()), folder=False, force=True) as made:
        made.write_text(text, encoding="utf-8")
    return target


def read_manifest(path: Path) -> dict[str, FileHash]:
    """The inverse of `write_manifest`; raises CheckpointError for a file that is missing or not of its form."""
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(f"{path} has more than {_MOST_BYTES >> 20} MiB, which no manifest has; get a good one")
    try:
        files = read_object(path).get("files")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{path} has no table of files; write it again from a good copy of the model")
    return {name: _entry(path, name, value) for name, value in files.items()}


def compare(expected: Mapping[str, FileHash], found: Mapping[str, FileHash]) -> list[str]:
    """What `found` on the disk has against a manifest, one short phrase a file: missing, of another size, or changed."""
    faults = []
    for name, stated in expected.items():
        if (here := found.get(name)) is None:
            faults.append(f"{name} is missing")
        elif here.size != stated.size:
            faults.append(f"{name} has {here.size:,} bytes where the manifest states {stated.size:,}")
        elif here.sha256 != stated.sha256:
            faults.append(f"{name} is changed: sha256 {here.sha256} where the manifest states {stated.sha256}")
    return faults


def _entry(path: Path, name: str, value: Any) -> FileHash:
    # A name with a separator could make a manifest from elsewhere speak of any file of the reader's.
    plain = name not in ("", "..") and PurePosixPath(name).name == name and "\\" not in name and name.isprintable()
    if not plain:
        raise CheckpointError(f"{path} names {name!r}, which is no plain file name; write it again from a good copy of the model")
    sha256, size = (value.get("sha256"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or not isinstance(size, int) or isinstance(size, bool):
        raise CheckpointError(f"{path} gives {name} no sha256 and size; write it again from a good copy of the model")
    return FileHash(sha256, size)

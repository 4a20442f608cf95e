"""What may stand in a fetched folder: plain files of known names, and in each what its name promises."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

from mistral7b.errors import ReleaseError
from mistral7b.release.inspect import check_member

_MOST_HEADER = 100_000_000  # bytes of a safetensors header, the format's own limit


def inspect_folder(folder: Path, *, launch: bool = False) -> list[Path]:
    """The files of `folder`, by name. Raises ReleaseError for anything that is not a plain file of a known name with contents of
    its kind; reads headers and the small JSON files only."""
    paths = sorted(folder.iterdir())
    if not paths:
        raise ReleaseError("it holds no files")
    for path in paths:
        check_member(path.name, launch=launch)
        if path.is_symlink() or not path.is_file():
            raise ReleaseError(f"{path.name} is a link, a folder or a device; only plain files are taken")
        for ending, fault in _KINDS.items():
            if path.name.endswith(ending) and (why := fault(path)) is not None:
                raise ReleaseError(f"{path.name} is {why}")
    return paths


def _safetensors_fault(path: Path) -> str | None:
    """Format: 8 bytes of header length, little-endian, then the header as a JSON object (see checkpoint.write)."""
    with path.open("rb") as file:
        start, size = file.read(9), path.stat().st_size
    if start[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"):
        return "a pickle under the name of safetensors"
    length = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
    if start[8:] != b"{" or not 2 <= length <= min(_MOST_HEADER, size - 8):
        return "no safetensors file"
    return None


def _gguf_fault(path: Path) -> str | None:
    with path.open("rb") as file:
        return None if file.read(4) == b"GGUF" else "no GGUF file"


def _json_fault(path: Path) -> str | None:
    try:
        value = json.loads(path.read_bytes()) if path.stat().st_size <= 64 << 20 else None
    except (ValueError, RecursionError):
        value = None
    return None if isinstance(value, dict) else "no JSON object"


_KINDS: dict[str, Callable[[Path], str | None]] = {
    ".safetensors": _safetensors_fault,
    ".gguf": _gguf_fault,
    ".json": _json_fault,
}

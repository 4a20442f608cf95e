"""What a torrent would put on this disk, read from its metadata (BEP 3, 47, 52) before a byte of it is written.

A torrent's maker is a stranger: the names are held against every file system at once, and only the files of a model pass.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mistral7b.checkpoint.aside import PTH
from mistral7b.checkpoint.manifest import MANIFEST
from mistral7b.errors import ReleaseError

LAUNCH = "208b101a0f51514ecf285885a8b0f6fb1a1e4d7d"  # v1 hash of the torrent v0.1 came as, the one whose pickle is let in
SIGNATURE = f"{MANIFEST}.sig"
KNOWN = (
    "*.safetensors", "*.safetensors.index.json", "*.gguf", "params.json", "config.json", "generation_config.json",
    "mistral7b.json", "adapter_config.json", "tekken.json", "tokenizer.model", "tokenizer.model.v?", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", MANIFEST, SIGNATURE,
    *(f"{page}{ending}" for page in ("README", "MODEL_CARD", "LICENSE", "NOTICE") for ending in ("", ".md", ".txt")),
)  # fmt: skip
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle")
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", *(f"{kind}{n}" for kind in ("com", "lpt") for n in "0123456789¹²³")}
_FORBIDDEN = frozenset('/\\:*?"<>|')
_MOST_FILES, _MOST_BYTES, _MOST_PIECES = 1000, 1 << 40, 1 << 20
_PIECES = range(14, 28)  # 16 KiB to 128 MiB, as powers of two
_SHA1 = 20


@dataclass(frozen=True, slots=True)
class Contents:
    """A torrent that may be fetched: `files` maps names to bytes, `v1` and `v2` are its info hashes in hex (None: not of that
    kind), `folder` is False for a single file under its own name."""

    name: str
    folder: bool
    files: Mapping[str, int]
    piece_length: int
    v1: str | None
    v2: str | None

    @property
    def size(self) -> int:
        return sum(self.files.values())


def inspect(info: Any, raw: bytes) -> Contents:
    """The contents of a torrent by its info dictionary, decoded and as its bytes.

    Raises ReleaseError, one line: for a name that is no plain one on some system, or that two files share where case does not
    count; a path that leads anywhere; a link; a pickle; a file that is no part of a model; too many files or bytes; pieces or
    files that do not add up.
    """
    try:
        return _contents(info, raw)
    except ReleaseError as error:
        raise ReleaseError(f"the torrent is refused: {error}") from None


def _contents(info: Any, raw: bytes) -> Contents:
    if not isinstance(info, dict):
        raise ReleaseError("its metadata is no dictionary")
    name = _text(info, "name")
    check_name(name)
    length = _number(info, "piece length")
    if length.bit_length() - 1 not in _PIECES or length & (length - 1):
        raise ReleaseError(f"its pieces are of {length:,} bytes; a power of two from 16 KiB to 128 MiB is expected")
    v1 = hashlib.sha1(raw, usedforsecurity=False).hexdigest() if b"pieces" in info else None
    v2 = hashlib.sha256(raw).hexdigest() if info.get(b"meta version") == 2 else None
    lists = [list(_v1_files(info, name, length))] if v1 else []
    lists += [list(_v2_files(info))] if v2 else []
    if not lists or any(files != lists[0] for files in lists):
        raise ReleaseError("its two lists of files differ" if lists else "it lists no files")
    check_files(lists[0], launch=v1 == LAUNCH)
    single = b"length" in info if v1 else lists[0] == [(name, lists[0][0][1])]
    return Contents(name=name, folder=not single, files=dict(lists[0]), piece_length=length, v1=v1, v2=v2)


def check_name(name: str) -> None:
    """Raises ReleaseError unless `name` is a plain file name on Linux, macOS and Windows alike."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ReleaseError(f"it names {name!r}, which leads out of its folder")
    if not name.isprintable() or _FORBIDDEN.intersection(name):
        raise ReleaseError(f"it names {name!r}, which holds a character that file names may not have")
    if name != name.strip(" ") or name.endswith(".") or name.startswith((".", "-", "~")):
        raise ReleaseError(
            f"it names {name!r}: a name may neither begin with a dot, dash, tilde or space nor end with dot or space"
        )
    if name.split(".")[0].rstrip(" ").lower() in _DEVICES:
        raise ReleaseError(f"it names {name!r}, which is a device on some systems")
    if len(name.encode()) > 200:
        raise ReleaseError(f"it names {name[:40] + '...'!r}, a name of more than 200 bytes")


def is_known(name: str) -> bool:
    """Whether a model folder may hold a file of this name."""
    return any(fnmatchcase(name, pattern) for pattern in KNOWN)


def check_member(name: str, *, launch: bool = False) -> None:
    """Raises ReleaseError for a file that is no part of a model. The one pickle let in is the .pth of a `launch`."""
    check_name(name)
    if launch and name == PTH:
        return
    if name.lower().endswith(PICKLES):
        raise ReleaseError(f"it holds {name}, a pickle, which can run code when it is loaded; take a release with safetensors")
    if not is_known(name):
        raise ReleaseError(f"it holds {name!r}, which is no part of a model")


def check_files(files: Sequence[tuple[str, int]], *, launch: bool) -> None:
    """Raises ReleaseError unless these, (name, bytes), could be the files of a model; `launch` lets in its pickle."""
    if not 0 < len(files) <= _MOST_FILES:
        raise ReleaseError(f"it holds {len(files):,} files; a model has 1 to {_MOST_FILES:,}")
    seen: dict[str, str] = {}
    for name, size in files:
        check_member(name, launch=launch)
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in seen:
            raise ReleaseError(f"it names {seen[key]!r} and {name!r}, which some systems take for one file")
        seen[key] = name
        if size < 0 or size > _MOST_BYTES:
            raise ReleaseError(f"it gives {name} {size:,} bytes")
    if not 0 < sum(size for _, size in files) <= _MOST_BYTES:
        raise ReleaseError(f"it holds {sum(size for _, size in files):,} bytes")


def _v1_files(info: dict[Any, Any], name: str, length: int) -> Iterator[tuple[str, int]]:
    """(Name, bytes) of each file but padding, which no client writes."""
    entries: Any
    if b"length" in info:
        entries = [{**info, b"path": [name.encode()]}]
    elif isinstance(entries := info.get(b"files"), list) and len(entries) <= 2 * _MOST_FILES:
        pass
    else:
        raise ReleaseError(f"it lists no files, or more than {_MOST_FILES:,}")
    total = 0
    for entry in entries:
        if not isinstance(entry, dict):
            raise ReleaseError("its list of files is damaged")
        size = _number(entry, "length")
        total += size
        if b"p" in _attributes(entry):
            if not 0 <= size < length:
                raise ReleaseError(f"it has {size:,} bytes of padding, more than a piece")
            continue
        yield _only_part(entry, "path"), size
    pieces = info.get(b"pieces")
    if not isinstance(pieces, bytes) or len(pieces) != -(-total // length) * _SHA1 or len(pieces) > _MOST_PIECES * _SHA1:
        raise ReleaseError("its pieces do not add up to its files")


def _v2_files(info: dict[Any, Any]) -> Iterator[tuple[str, int]]:
    tree = info.get(b"file tree")
    if not isinstance(tree, dict) or len(tree) > _MOST_FILES:
        raise ReleaseError(f"it lists no files, or more than {_MOST_FILES:,}")
    for key, node in tree.items():
        name = _decode(key)
        entry = node.get(b"") if isinstance(node, dict) else None
        if not isinstance(entry, dict) or set(node) != {b""}:
            raise ReleaseError(f"it has a folder {name!r} inside; the files of a model stand in one folder")
        _attributes(entry)
        yield name, _number(entry, "length")


def _only_part(entry: dict[Any, Any], key: str) -> str:
    """The one part of a path. A second spelling for other readers, BEP 3's `path.utf-8`, has to be the same."""
    path = entry.get(key.encode())
    if not isinstance(path, list) or not path or entry.get(f"{key}.utf-8".encode(), path) != path:
        raise ReleaseError("a file of it has no path, or two")
    parts = [_decode(part) for part in path]
    for part in parts:
        check_name(part)
    if len(parts) > 1:
        raise ReleaseError(f"it holds {'/'.join(parts)!r}; the files of a model stand in one folder")
    return parts[0]


def _attributes(entry: dict[Any, Any]) -> bytes:
    attributes = entry.get(b"attr", b"")
    if not isinstance(attributes, bytes) or b"l" in attributes or b"symlink path" in entry:
        raise ReleaseError("it holds a symbolic link")
    return attributes


def _text(info: dict[Any, Any], key: str) -> str:
    value = info.get(key.encode())
    if info.get(f"{key}.utf-8".encode(), value) != value:
        raise ReleaseError(f"it has two values for {key!r}")
    return _decode(value)


def _decode(value: Any) -> str:
    try:
        return bytes.decode(value, "utf-8")
    except (UnicodeDecodeError, TypeError):
        raise ReleaseError("it has a name that is no UTF-8 text") from None


def _number(entry: dict[Any, Any], key: str) -> int:
    value = entry.get(key.encode())
    if not isinstance(value, int):
        raise ReleaseError(f"it gives no {key}")
    return value

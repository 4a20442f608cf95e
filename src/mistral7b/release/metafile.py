"""The .torrent of what was fetched from a magnet link, so that whoever has it can seed it in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mistral7b.release.landed import BLOCK  # a leaf of BEP 52's trees, too

_NOTHING = bytes(32)


def metafile(info: bytes, folder: Path, trackers: Sequence[str], web_seeds: Sequence[str]) -> bytes:
    """The .torrent with these bytes as its info dictionary, whose files lie whole under `folder`, each by its path in it.

    A v2 torrent names for each file the root of a tree; the layer of pieces under it is not in the link's metadata and is made of
    the files again (BEP 52). Memory does not grow with them.
    """
    import libtorrent as lt

    told: Any = lt.bdecode(info)
    size: int = told[b"piece length"]
    layers: Any = {
        entry[b"pieces root"]: b"".join(_pieces(folder / path, size))
        for path, entry in _files(told.get(b"file tree", {}))
        if entry[b"length"] > size
    }
    parts = {b"info": info}  # a dictionary is written in the order of its keys
    if trackers:
        parts[b"announce"] = lt.bencode(trackers[0].encode())
        parts[b"announce-list"] = lt.bencode([[url.encode()] for url in trackers])
    if b"file tree" in told:
        parts[b"piece layers"] = lt.bencode(layers)
    if web_seeds:
        parts[b"url-list"] = lt.bencode([url.encode() for url in web_seeds])
    return b"d" + b"".join(lt.bencode(key) + parts[key] for key in sorted(parts)) + b"e"


def _files(tree: Mapping[bytes, Any], above: Path = Path()) -> Iterator[tuple[Path, Mapping[bytes, Any]]]:
    """(path, what is told of it) of each file of a v2 file tree; a file is the one entry without a name in its folder."""
    for name, inner in tree.items():
        if name == b"":
            yield above, inner
        else:
            yield from _files(inner, above / name.decode())


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """The hash of each piece: the root over its blocks, those past the end of the file counted as zeros."""
    with path.open("rb") as file:
        while piece := file.read(size):
            hashes = [hashlib.sha256(piece[at : at + BLOCK]).digest() for at in range(0, len(piece), BLOCK)]
            hashes += [_NOTHING] * (size // BLOCK - len(hashes))
            while len(hashes) > 1:
                hashes = [hashlib.sha256(left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
            yield hashes[0]

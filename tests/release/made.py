"""A model to release, and what BEP 3 and BEP 52 ask of its torrent, computed by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from mistral7b.release.facts import Facts
from tests.checkpoint import made as checkpoints
from tests.cli.made import TALKATIVE

FACTS = Facts(name="story", licence="Apache-2.0", created=1_695_772_800)
BLOCK = 1 << 14


def model(folder: Path) -> Path:
    """A small fine-tune whose weights are large enough to be linked, and whose other files are not."""
    folder.mkdir(parents=True)
    config = replace(TALKATIVE, dim=96)
    checkpoints.hf(folder, checkpoints.weights(config), config)
    shutil.copyfile(str(files("mistral7b.models.tiny") / "tokenizer.model.v3"), folder / "tokenizer.model.v3")
    own = {"trained_context": 512, "training": {"base": "v0.1", "steps": 7}}
    (folder / "mistral7b.json").write_text(json.dumps(own))
    return folder


def bencode(value: Any) -> bytes:
    """BEP 3's encoding; keys of a dictionary in the order of their bytes."""
    match value:
        case bytes():
            return b"%d:%s" % (len(value), value)
        case int():
            return b"i%de" % value
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
        case _:
            raise AssertionError(value)


def v1_pieces(info: dict[bytes, Any], contents: dict[str, bytes]) -> bytes:
    """sha1 of every piece of the files one after another, pad files as zeros (BEP 3, BEP 47)."""
    stream = bytearray()
    for file in info[b"files"]:
        name = file[b"path"][-1].decode()
        stream += bytes(file[b"length"]) if file.get(b"attr") == b"p" else contents[name]
        assert file.get(b"attr") == b"p" or len(contents[name]) == file[b"length"]
    size = info[b"piece length"]
    return b"".join(hashlib.sha1(stream[at : at + size]).digest() for at in range(0, len(stream), size))


def merkle(hashes: list[bytes], pad: bytes, width: int) -> bytes:
    """The root over `width` leaves, a power of two, of which those that are missing are `pad`."""
    level = hashes + [pad] * (width - len(hashes))
    while len(level) > 1:
        level = [hashlib.sha256(level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]


def v2_root(data: bytes, piece_size: int) -> tuple[bytes, bytes]:
    """(The root over 16 KiB blocks, the hashes of the layer of pieces joined; b"" for a file of one piece) (BEP 52)."""
    leaves = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    zero = bytes(32)
    width = 1
    while width < len(leaves):
        width *= 2
    root = merkle(leaves, zero, width)
    if len(data) <= piece_size:
        return root, b""
    blocks = piece_size // BLOCK
    layer = [merkle(leaves[at : at + blocks], zero, blocks) for at in range(0, len(leaves), blocks)]
    return root, b"".join(layer)

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.checkpoint.gguf_header import GgufHeader, read_header
from mistral7b.errors import CheckpointError
from tests.checkpoint import made_gguf

KEYS = made_gguf.metadata() | {
    "general.name": "a – b",
    "tokenizer.ggml.tokens": ["<unk>", "▁a", ""],
    "tokenizer.ggml.scores": [0.0, -1.5, -2.0],
    "tokenizer.ggml.token_type": [2, 1, 1],
    "tokenizer.ggml.add_bos_token": True,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_gguf.small(tmp_path_factory.mktemp("gguf") / "whole.gguf", KEYS)


def test_equals_the_library_reader(whole: Path) -> None:
    header, library = read_header(whole), gguf.GGUFReader(whole)
    theirs = {key: field.contents() for key, field in library.fields.items() if not key.startswith("GGUF.")}
    assert header.fields == theirs
    assert list(header.tensors) == [tensor.name for tensor in library.tensors]
    for tensor in library.tensors:
        info = header.tensors[tensor.name]
        assert (info.type, info.offset, info.n_bytes) == (tensor.tensor_type, tensor.data_offset, tensor.n_bytes)
        assert info.shape == tuple(reversed(tensor.shape.tolist()))


def test_every_truncation_is_one_line(whole: Path, tmp_path: Path) -> None:
    raw = whole.read_bytes()
    first = min(info.offset for info in read_header(whole).tensors.values())
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, first + 64, 5), len(raw) // 2, len(raw) - 1]:
        cut.write_bytes(raw[:length])
        with pytest.raises(CheckpointError) as caught:
            read_header(cut)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def attempt(path: Path) -> GgufHeader | str:
    try:
        return read_header(path)
    except CheckpointError as error:
        return str(error)


@given(st.data())
def test_flipped_bits_never_escape(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A damaged header is refused in one line or describes tensors that lie inside the file."""
    raw = bytearray(whole.read_bytes())
    first = min(info.offset for info in read_header(whole).tensors.values())
    for bit in data.draw(st.lists(st.integers(0, first * 8 - 1), min_size=1, max_size=3)):
        raw[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("flipped") / "flipped.gguf"
    path.write_bytes(raw)
    read = attempt(path)
    if isinstance(read, str):
        assert len(read.splitlines()) == 1
    else:
        assert all(0 < info.offset <= info.offset + info.n_bytes <= len(raw) for info in read.tensors.values())


def head(n_tensors: int = 0, n_fields: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_fields)


def field(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def tensor(name: str, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return struct.pack(f"<Q{len(name)}sI{len(dims)}QIQ", len(name), name.encode(), len(dims), *dims, kind, offset)


ABSURD = {
    "cannot be read": b"",
    "does not begin with 'GGUF'": b"PK\x03\x04" + bytes(40),
    "version 1": head(version=1),
    "little-endian": head(version=3 << 24),
    "tensors, more than its": head(n_tensors=1 << 62),
    "metadata fields, more than its": head(n_fields=1 << 40) + bytes(64),
    "bytes of text": head(n_fields=1) + struct.pack("<Q", 1 << 60) + bytes(64),
    "items in one array": head(n_fields=1) + field("a", 9, struct.pack("<IQ", 4, 1 << 61)),
    "an array of 5,242,880 items": head(n_fields=1) + field("a", 9, struct.pack("<IQ", 0, 5 << 20)) + bytes(6 << 20),
    "arrays of arrays": head(n_fields=1) + field("a", 9, struct.pack("<IQIQ", 9, 1, 4, 0)),
    "unknown type 77": head(n_fields=1) + field("a", 77, bytes(8)),
    "'a' stands in it twice": head(n_fields=2) + field("a", 0, b"1") * 2,
    "a name of 300": head(n_fields=1) + field("k" * 300, 0, b"1"),
    "not UTF-8": head(n_fields=1) + field("a", 8, struct.pack("<Q", 1) + b"\xff"),
    "alignment is 0": head(n_fields=1) + field("general.alignment", 4, struct.pack("<I", 0)),
    "0 dimensions": head(n_tensors=1) + tensor("t", [], 0) + bytes(64),
    "end inside or before tensor 't'": head(n_tensors=1) + tensor("t", [1 << 63, 1 << 63]) + bytes(64),
    "impossible shape [0]": head(n_tensors=1) + tensor("t", [0]) + bytes(64),
    "impossible shape [33]": head(n_tensors=1) + tensor("t", [33], kind=8) + bytes(64),
    "unknown type 999": head(n_tensors=1) + tensor("t", [1], kind=999) + bytes(64),
    "stands at 32, not at 0": head(n_tensors=1) + tensor("t", [1], offset=32) + bytes(128),
    "'t' stands in it twice": head(n_tensors=2) + tensor("t", [8]) + tensor("t", [8], offset=32) + bytes(256),
}


@pytest.mark.parametrize("says", ABSURD)
def test_absurd_files_are_named_for_what_they_are(tmp_path: Path, says: str) -> None:
    path = tmp_path / "absurd.gguf"
    path.write_bytes(ABSURD[says])
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert says in str(caught.value)

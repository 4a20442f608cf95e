"""The SentencePiece model file, as far as GGUF carries it: pieces, scores, types and two switches of the normaliser.

sentencepiece reads these files but tells neither a piece's type nor the switches, and writes none; its protobuf module
would need the protobuf package for five fields. `encode` and `decode` are inverse on what they carry. Field numbers:
sentencepiece/src/sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mistral7b.errors import TokenizerError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # GGUF's token types are the same numbers

_BPE = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types


@dataclass(frozen=True, slots=True)
class Piece:
    """One id of the vocabulary. `score` is float32: a BPE merge's rank, negated."""

    text: str
    score: float
    type: int


@dataclass(frozen=True, slots=True)
class SpmModel:
    """A BPE SentencePiece model without normalisation: ids are positions in `pieces`."""

    pieces: tuple[Piece, ...]
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


def encode(model: SpmModel) -> bytes:
    """The bytes of a tokenizer.model with byte fallback, unk 0, bos 1, eos 2, no pad (FACTS 3.1)."""
    pieces = b"".join(
        _field(1, _field(1, piece.text.encode()) + _field(2, piece.score) + _field(3, piece.type)) for piece in model.pieces
    )
    ids = _field(40, 0) + _field(41, 1) + _field(42, 2) + _field(43, -1)
    trainer = _field(3, _BPE) + _field(4, len(model.pieces)) + _field(35, 1) + ids
    normalizer = (
        _field(1, b"identity")
        + _field(3, int(model.add_dummy_prefix))
        + _field(4, int(model.remove_extra_whitespaces))
        + _field(5, 1)
    )
    return pieces + _field(2, trainer) + _field(3, normalizer)


def decode(raw: bytes) -> SpmModel:
    """The model in the bytes of a tokenizer.model.

    Raises TokenizerError for bytes that are no SentencePiece model, and for one that is not BPE or that normalises text,
    which `SpmModel` could not say.
    """
    try:
        pieces: list[Piece] = []
        trainer: dict[int, int | float | bytes] = {}
        normalizer: dict[int, int | float | bytes] = {}
        for number, value in _fields(raw):
            if number == 1:
                part = dict(_fields(_as_bytes(value)))
                text, score = _as_bytes(part[1]).decode(), part.get(2, 0.0)
                pieces.append(Piece(text, float(score), int(part.get(3, NORMAL))))
            elif number in (2, 3):
                (trainer if number == 2 else normalizer).update(_fields(_as_bytes(value)))
    except (KeyError, IndexError, TypeError, ValueError, struct.error):
        raise TokenizerError("the tokenizer is not a SentencePiece model; give the tokenizer.model of this model") from None
    if trainer.get(3, 1) != _BPE or normalizer.get(2):
        raise TokenizerError("the tokenizer is not a plain BPE SentencePiece model, which is all that Mistral 7B uses")
    return SpmModel(tuple(pieces), bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)))


def _field(number: int, value: int | float | bytes) -> bytes:
    """One protobuf field: bytes as a string or message, a float as float32, an int as a varint."""
    if isinstance(value, bytes):
        return _varint(number << 3 | _BYTES) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | _FIXED32) + struct.pack("<f", value)
    return _varint(number << 3 | _VARINT) + _varint(value % (1 << 64))


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _fields(raw: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(number, value) of every field of one message; raises IndexError or ValueError where it is cut short."""
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _read_varint(raw, at)
            yield number, value
        elif wire == _FIXED32:
            yield number, struct.unpack_from("<f", raw, at)[0]
            at += 4
        elif wire in (_BYTES, _FIXED64):
            size, at = _read_varint(raw, at) if wire == _BYTES else (8, at)
            if at + size > len(raw):
                raise ValueError("cut short")
            yield number, raw[at : at + size]
            at += size
        else:
            raise ValueError("not a wire type")


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while raw[at] & 0x80:
        value |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | raw[at] << shift, at + 1


def _as_bytes(value: int | float | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("not a message")
    return value

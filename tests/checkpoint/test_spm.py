from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from mistral7b.checkpoint.spm import BYTE, CONTROL, NORMAL, UNKNOWN, Piece, SpmModel, decode, encode
from mistral7b.errors import TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TokenizerVersion

floats = st.floats(width=32, allow_nan=False)
pieces = st.builds(Piece, st.text(st.characters(exclude_categories=["Cs"]), max_size=8), floats, st.integers(1, 6))


@given(st.builds(SpmModel, st.lists(pieces, max_size=20).map(tuple), st.booleans(), st.booleans()))
def test_decode_is_the_inverse_of_encode(model: SpmModel) -> None:
    assert decode(encode(model)) == model


@given(st.binary(max_size=200))
def test_any_other_bytes_are_one_error_or_a_model(raw: bytes) -> None:
    try:
        read: SpmModel | str = decode(raw)
    except TokenizerError as error:
        read = str(error)
    assert isinstance(read, SpmModel) or len(read.splitlines()) == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_published_tokenizer_written_again_encodes_alike(version: TokenizerVersion, text: str) -> None:
    published, again = processors(version)
    assert again.encode(text) == published.encode(text)
    for id in again.encode(text):
        assert again.id_to_piece(id) == published.id_to_piece(id)


_PROCESSORS: dict[str, tuple[SentencePieceProcessor, SentencePieceProcessor]] = {}


def processors(version: TokenizerVersion) -> tuple[SentencePieceProcessor, SentencePieceProcessor]:
    if version not in _PROCESSORS:
        raw = Tokenizer.published(version).path.read_bytes()
        again = encode(decode(raw))
        _PROCESSORS[version] = SentencePieceProcessor(model_proto=raw), SentencePieceProcessor(model_proto=again)
    return _PROCESSORS[version]


@pytest.mark.parametrize(("version", "bytes_at"), [("v1", 3), ("v3", 771)])
def test_pieces_types_and_switches_of_the_published_files(version: TokenizerVersion, bytes_at: int) -> None:
    model = decode(Tokenizer.published(version).path.read_bytes())
    assert (model.add_dummy_prefix, model.remove_extra_whitespaces) == (True, False)
    assert [piece.type for piece in model.pieces[:3]] == [UNKNOWN, CONTROL, CONTROL]
    assert model.pieces[bytes_at] == Piece("<0x00>", 0.0, BYTE)
    assert model.pieces[bytes_at + 256].type == NORMAL
    processor, _ = processors(version)
    assert [piece.text for piece in model.pieces] == processor.id_to_piece(list(range(len(model.pieces))))
    assert [piece.score for piece in model.pieces] == processor.get_score(list(range(len(model.pieces))))


def test_unigram_and_normalising_models_are_refused() -> None:
    unigram = bytes([2 << 3 | 2, 2, 3 << 3, 1])
    normalising = bytes([2 << 3 | 2, 2, 3 << 3, 2, 3 << 3 | 2, 3, 2 << 3 | 2, 1, 7])
    for raw in (unigram, normalising, b""):
        with pytest.raises(TokenizerError, match="plain BPE"):
            decode(raw)
    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        decode(struct.pack("<BB", 1 << 3 | 2, 100))

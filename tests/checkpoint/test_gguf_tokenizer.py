from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mistral7b.checkpoint.gguf_header import GgufHeader
from mistral7b.checkpoint.gguf_tokenizer import find_tokenizer, text_digest
from mistral7b.checkpoint.spm import BYTE, CONTROL, NORMAL, UNKNOWN, Piece, decode
from mistral7b.errors import TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TokenizerVersion

TEXT = "Once upon a time, [INST] naïve 🙂 </s>\n  two  spaces"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def published(version: TokenizerVersion) -> list[Piece]:
    return list(decode(Tokenizer.published(version).path.read_bytes()).pieces)


def own(controls: Sequence[str] = ()) -> list[Piece]:
    """A whole small BPE vocabulary: controls, bytes, letters and three merges."""
    pieces = [Piece("<unk>", 0.0, UNKNOWN), Piece("<s>", 0.0, CONTROL), Piece("</s>", 0.0, CONTROL)]
    pieces += [Piece(name, 0.0, CONTROL) for name in controls]
    pieces += [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    texts = ["on", "▁t", "im", *"▁abcdefghijklmnopqrstuvwxyz"]
    return pieces + [Piece(text, -float(rank), NORMAL) for rank, text in enumerate(texts)]


V3_CONTROLS = [
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
]


def header(pieces: Sequence[Piece], **changes: Any) -> GgufHeader:
    fields: dict[str, Any] = {"model": "llama", "tokens": [piece.text for piece in pieces]}
    fields |= {"scores": [piece.score for piece in pieces], "token_type": [int(piece.type) for piece in pieces]} | changes
    return GgufHeader({f"tokenizer.ggml.{key}": value for key, value in fields.items() if value is not None}, {})


@pytest.mark.parametrize(("version", "expected"), [("v1", "v1"), ("v2", "v3"), ("v3", "v3")])
def test_published_pieces_are_recognised(version: TokenizerVersion, expected: TokenizerVersion, cache: Path) -> None:
    """v0.3's file is 240216 (v2) byte for byte; its template is v3's."""
    path, notes = find_tokenizer(header(published(version)))
    assert path == Tokenizer.published(expected).path
    assert f"published {expected}" in notes[0]
    assert not cache.exists()


def test_control_pieces_as_recent_converters_leave_them_do_not_hide_a_published_tokenizer() -> None:
    """llama.cpp gives special tokens the score -1000, whatever the model file says."""
    pieces = [replace(piece, score=-1000.0) if piece.type == CONTROL else piece for piece in published("v3")]
    assert find_tokenizer(header(pieces))[0] == Tokenizer.published("v3").path


def test_v1_and_v3_hold_the_same_text_pieces() -> None:
    (first_v1, v1), (first_v3, v3) = text_digest(published("v1")), text_digest(published("v3"))
    assert (first_v1, first_v3, v1) == (259, 1027, v3)


def changed_score(pieces: list[Piece]) -> list[Piece]:
    return [*pieces[:-1], replace(pieces[-1], score=pieces[-1].score - 1)]


def added_tokens(pieces: list[Piece]) -> list[Piece]:
    return [*pieces, Piece("<|im_start|>", -1000.0, CONTROL), Piece("<|im_end|>", -1000.0, CONTROL)]


@pytest.mark.parametrize("change", [changed_score, added_tokens])
def test_a_changed_tokenizer_is_rebuilt_and_not_taken_for_the_published_one(change: Any, cache: Path) -> None:
    pieces = change(published("v1"))
    path, notes = find_tokenizer(header(pieces))
    assert path is not None
    assert path.is_relative_to(cache)
    assert "rebuilt" in notes[0]
    tokenizer = Tokenizer.load(path)
    assert (tokenizer.version, tokenizer.vocab_size) == ("v1", len(pieces))
    assert tokenizer.encode("Hello world") == Tokenizer.published("v1").encode("Hello world")


@pytest.mark.parametrize(("controls", "version"), [((), "v1"), (V3_CONTROLS, "v3")])
def test_an_own_tokenizer_is_kept_once_under_its_contents(controls: Sequence[str], version: str, cache: Path) -> None:
    path, _ = find_tokenizer(header(own(controls)))
    assert path is not None
    assert path.name == f"tokenizer.model.{version}"
    tokenizer = Tokenizer.load(path)
    assert tokenizer.version == version
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert [tokenizer.piece(id) for id in tokenizer.encode("tim on")] == ["▁t", "im", "▁", "on"]
    before = path.stat().st_mtime_ns
    assert find_tokenizer(header(own(controls)))[0] == path
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"damaged")
    assert find_tokenizer(header(own(controls)))[0] == path
    assert Tokenizer.load(path).encode(TEXT) == tokenizer.encode(TEXT)
    assert [file.name for file in cache.rglob("*") if file.is_file()] == [path.name], "nothing half-written stays"


def test_no_tokenizer_in_the_file() -> None:
    for kind in (None, "no_vocab"):
        path, notes = find_tokenizer(header([], model=kind))
        assert path is None
        assert "token ids" in notes[0]


def test_a_cache_that_cannot_be_written_leaves_a_model_without_tokenizer(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    path, notes = find_tokenizer(header(own()))
    assert path is None
    assert "XDG_CACHE_HOME" in notes[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "gpt2"}, "'gpt2'"),
        ({"scores": None}, "damaged"),
        ({"token_type": [1, 2]}, "damaged"),
        ({"tokens": "one string"}, "damaged"),
        ({"scores": ["a"] * 286}, "damaged"),
        ({"token_type": [9] * 286}, "damaged"),
        ({"scores": [1e300] * 286}, "damaged"),
        ({"scores": [float("nan")] * 286}, "damaged"),
        ({"tokens": ["same"] * 286}, "does not work"),
        ({"add_space_prefix": False}, "add_dummy_prefix"),
    ],
)
def test_a_malformed_tokenizer_is_one_line(changes: dict[str, Any], says: str, cache: Path) -> None:
    assert len(own()) == 286 + 3
    pieces = own()[: 286 if "add_space_prefix" not in changes else None]
    with pytest.raises(TokenizerError) as caught:
        find_tokenizer(header(pieces, **changes))
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not [file for file in cache.rglob("*") if file.is_file()]

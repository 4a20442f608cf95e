"""Files in, ids out: generations, control tokens, and text that comes back as it went in."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer, find_tokenizer
from mistral7b.variants import TokenizerVersion
from tests.tokens.conftest import Train

TEXTS = st.text() | st.text(st.sampled_from(" \n\té€😀ab[]<s/>INT_")) | st.text(st.sampled_from(" abc"))
SPELLINGS = ["</s>", "<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "<unk>", "<0x0A>", "[control_8]"]


def test_published_ids(v1: Tokenizer, v2: Tokenizer, v3: Tokenizer) -> None:
    assert [t.vocab_size for t in (v1, v2, v3)] == [32000, 32768, 32768]
    assert [t.version for t in (v1, v2, v3)] == ["v1", "v2", "v3"]
    assert v1.encode("Hello") == [22557]
    assert v3.encode("Hello", bos=True) == [1, 23325]
    assert v1.encode("[INST]") == [733, 16289, 28793]
    assert [v1.piece(3), v1.piece(258), v3.piece(771), v3.piece(1026)] == ["<0x00>", "<0xFF>", "<0x00>", "<0xFF>"]
    names = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
    for tokenizer in (v2, v3):
        assert [tokenizer.control_id(name) for name in names] == [3, 4, 5, 6, 7, 8, 9]


def test_v1_has_no_control_id_for_inst(v1: Tokenizer) -> None:
    assert v1.control_id("<s>") == 1
    with pytest.raises(TokenizerError, match=r"'\[INST\]' is no control token of this v1 tokenizer"):
        v1.control_id("[INST]")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_text_that_spells_a_control_token_stays_text(every: list[Tokenizer], spelling: str) -> None:
    for tokenizer in every:
        for text in (spelling, f"a {spelling}{spelling} b"):
            ids = tokenizer.encode(text, bos=True)
            assert ids[0] == tokenizer.bos_id
            assert not any(tokenizer.is_control(id) for id in ids[1:])
            assert tokenizer.decode(ids) == text


@given(text=TEXTS)
def test_round_trip_and_the_map_from_v1_to_v3(every: list[Tokenizer], v1: Tokenizer, v3: Tokenizer, text: str) -> None:
    for tokenizer in every:
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\u2581", " ")
        assert tokenizer.encode(text, bos=True) == [1, *tokenizer.encode(text)]
    assert [id + 768 for id in v1.encode(text)] == v3.encode(text)


def test_v1_and_v3_have_the_same_pieces_768_apart(v1: Tokenizer, v3: Tokenizer) -> None:
    assert [v1.piece(id) for id in range(3, v1.vocab_size)] == [v3.piece(id + 768) for id in range(3, v1.vocab_size)]


@given(data=st.data())
def test_piece_bytes_join_to_the_text(every: list[Tokenizer], data: st.DataObject) -> None:
    for tokenizer in every:
        ids = tokenizer.encode(data.draw(TEXTS))
        joined = b"".join(tokenizer.piece_bytes(id) for id in ids).decode()
        assert joined.removeprefix(" ") == tokenizer.decode(ids)


def test_piece_bytes_of_every_kind(v3: Tokenizer) -> None:
    assert v3.piece_bytes(3) == v3.piece_bytes(1) == b""
    assert v3.piece_bytes(771 + 0xE2) == b"\xe2"
    assert v3.piece_bytes(23325) == b" Hello"
    assert v3.piece_bytes(0) == v3.decode([0]).encode() == " ⁇ ".encode()
    assert v3.is_control(5)
    assert not v3.is_control(0)


def test_ids_outside_the_vocabulary(v1: Tokenizer) -> None:
    for wrong in (-1, 32000):
        with pytest.raises(TokenizerError, match="outside the vocabulary of 32,000"):
            v1.decode([5, wrong])
        with pytest.raises(TokenizerError, match="outside the vocabulary"):
            v1.piece_bytes(wrong)


def test_a_lone_surrogate_is_refused(v3: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="lone surrogate"):
        v3.encode("a\ud800b")


# ── files ──


def test_a_small_tokenizer_in_v3_layout(small: Tokenizer) -> None:
    assert (small.version, small.vocab_size) == ("v3", 1200)
    assert small.control_id("[TOOL_RESULTS]") == 8
    assert small.piece_bytes(771) == b"\0"


@pytest.mark.parametrize(
    ("published", "name", "asked", "version"),
    [
        ("v1", "tokenizer.model", None, "v1"),
        ("v1", "tokenizer.model.v1", None, "v1"),
        ("v2", "tokenizer.model", None, "v3"),  # as published with v0.3: the v2 file, no suffix
        ("v2", "tokenizer.model.v2", None, "v2"),
        ("v2", "tokenizer.model.v3", None, "v3"),
        ("v3", "tokenizer.model", "v2", "v2"),
        ("v3", "renamed.spm", None, "v3"),
    ],
)
def test_version_from_argument_then_name_then_contents(
    tmp_path: Path, published: TokenizerVersion, name: str, asked: TokenizerVersion | None, version: str
) -> None:
    path = Path(shutil.copy(Tokenizer.published(published).path, tmp_path / name))
    assert Tokenizer.load(path, asked).version == version


@pytest.mark.parametrize(
    ("published", "name", "asked", "says"),
    [
        ("v1", "tokenizer.model.v3", None, "was to be read as v3 but its pieces are those of v1"),
        ("v3", "tokenizer.model.v1", None, "was to be read as v1 but its pieces are those of v3"),
        ("v3", "tokenizer.model", "v1", "was to be read as v1"),
        ("v3", "tokenizer.model.v7", None, "names generation v7"),
        ("v3", "tekken.json", None, "Tekken came later"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, published: TokenizerVersion, name: str, asked: TokenizerVersion | None, says: str
) -> None:
    path = Path(shutil.copy(Tokenizer.published(published).path, tmp_path / name))
    with pytest.raises(TokenizerError, match=says):
        Tokenizer.load(path, asked)


def test_a_v7_file_without_a_suffix_is_refused(tmp_path: Path, v1: Tokenizer) -> None:
    v7 = v1.path.parent / "mistral_instruct_tokenizer_241114.model.v7"
    with pytest.raises(TokenizerError, match="v7 or later"):
        Tokenizer.load(Path(shutil.copy(v7, tmp_path / "tokenizer.model")))


def test_broken_files_are_refused_in_one_line(tmp_path: Path, v1: Tokenizer) -> None:
    whole = v1.path.read_bytes()
    path = tmp_path / "tokenizer.model"
    for broken in (b"", b"not a tokenizer" * 100, whole[: len(whole) // 2], whole[:-5]):
        path.write_bytes(broken)
        with pytest.raises(TokenizerError, match="not a readable SentencePiece file") as caught:
            Tokenizer.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(TokenizerError, match="there is no tokenizer file"):
        Tokenizer.load(tmp_path / "absent.model")


@pytest.mark.parametrize(
    "options",
    [
        {"remove_extra_whitespaces": True},
        {"normalization_rule_name": "nfkc"},
        {"add_dummy_prefix": False},
        {"byte_fallback": False},
    ],
)
def test_tokenizers_that_change_text_are_refused(train: Train, options: dict[str, object]) -> None:
    with pytest.raises(TokenizerError, match="does not give text back unchanged"):
        Tokenizer.load(train(**options))


def test_other_layouts_are_refused(train: Train, v3: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="must have the ids 3 to 9"):
        Tokenizer.load(train(control_symbols=["[control]", *(v3.piece(id) for id in range(3, 771))]))
    with pytest.raises(TokenizerError, match="must have the ids 0, 1 and 2"):
        Tokenizer.load(train(unk_id=1, bos_id=0))


def test_an_unknown_generation_is_refused() -> None:
    with pytest.raises(TokenizerError, match="choose v1, v2 or v3"):
        Tokenizer.published("v4")  # type: ignore[arg-type]


def test_find_tokenizer_prefers_names_that_state_their_generation(tmp_path: Path) -> None:
    assert find_tokenizer(tmp_path) is None
    (tmp_path / "tekken.json").touch()
    with pytest.raises(TokenizerError, match=re.escape("only tekken.json")):
        find_tokenizer(tmp_path)
    for name in ("tokenizer.model", "tokenizer.model.v1", "tokenizer.model.v2", "tokenizer.model.v3"):
        (tmp_path / name).touch()
        assert find_tokenizer(tmp_path) == tmp_path / name


def test_encoding_needs_no_mistral_common_import() -> None:
    """Its 0.4 s are for chats; `--help` and plain completions must not pay them."""
    code = (
        "import sys; from mistral7b.tokens import chat, stream, tokenizer; assert 'sentencepiece' not in sys.modules;"
        "tokenizer.Tokenizer.published('v3').encode('a');"
        "print(any(name in sys.modules for name in ('pydantic', 'mistral_common.tokens', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_another_process_is_given_the_file(v1: Tokenizer, v2: Tokenizer, v3: Tokenizer) -> None:
    for tokenizer in (v1, v2, v3):
        raw = pickle.dumps(tokenizer)
        assert len(raw) < 1000
        again = pickle.loads(raw)
        assert (again.path, again.version) == (tokenizer.path, tokenizer.version)
        assert again.encode("Hello") == tokenizer.encode("Hello")

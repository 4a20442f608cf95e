"""tokenizer.json: transformers gives the ids that SentencePiece gives, whatever the text."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.checkpoint.spm import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, Piece, SpmModel, encode
from mistral7b.checkpoint.tokenizer_json import merges, tokenizer_json, write_tokenizer_json
from mistral7b.errors import CheckpointError, TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer

TINY = Path(str(files("mistral7b.models.tiny") / "tokenizer.model.v3"))
FILES = {"tiny": TINY, "v1": Tokenizer.published("v1").path, "v2": Tokenizer.published("v2").path}
HARD = [
    "", " ", "  ", "a", " a", "a ", "   a  b   ", "\n", "\n\n a\t\r\n", "[INST]", "[INST] a [/INST]", "<s>", "</s>",
    "<unk>", "<0x0A>", "[control_8]", "▁", "▁▁a", "a▁b", "é", "e\u0301", "日本語のテキスト", "😀 👩\u200d👩\u200d👧",
    "\u200d\ufeff", "\x00", "\u00a0\u3000", "ﬁ ﬀ Ａ", "א ب ก ཀ Ꮳ 𒀀 𐍈", "aaaaaaaaaaaa", "ababababab", "=" * 50, "-" * 33,
    " " * 40 + "x", "def f(x):\n    return x\n", '[{"name": "f", "arguments": {"x": 10}}]', "1234567890", "\U0010ffff",
]  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from(" \n\tab=-.▁[]INST/é😀"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tokenizer, Any]]:
    """Our tokenizer beside transformers', read from what was written."""
    from transformers import AutoTokenizer

    made = {}
    for name, path in FILES.items():
        folder = tmp_path_factory.mktemp(name)
        write_tokenizer_json(path, folder)
        made[name] = (Tokenizer.load(path), AutoTokenizer.from_pretrained(folder))
    return made


def same(pair: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = pair
    ids = ours.encode(text, bos=True)
    assert theirs.encode(text) == ids, repr(text)
    assert theirs.encode(text, add_special_tokens=False) == ids[1:]
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids) == text.replace("▁", " ")


@pytest.mark.parametrize("name", FILES)
def test_hard_texts(pairs: dict[str, tuple[Tokenizer, Any]], name: str) -> None:
    for text in HARD:
        same(pairs[name], text)
        same(pairs[name], f"{text} and {text}")


@given(text=TEXTS)
def test_any_text(pairs: dict[str, tuple[Tokenizer, Any]], text: str) -> None:
    for pair in pairs.values():
        same(pair, text)


@given(data=st.data())
def test_pieces_in_any_order(pairs: dict[str, tuple[Tokenizer, Any]], data: st.DataObject) -> None:
    """Texts on which merges compete: what the vocabulary itself is made of, end to end."""
    for pair in pairs.values():
        ids = data.draw(st.lists(st.integers(1027, pair[0].vocab_size - 1), max_size=15))
        same(pair, "".join(pair[0].piece(id).replace("▁", " ") for id in ids))


def test_control_tokens_are_special_and_steer_on_request(pairs: dict[str, tuple[Tokenizer, Any]]) -> None:
    ours, theirs = pairs["tiny"]
    assert theirs.convert_tokens_to_ids(["<unk>", "<s>", "</s>", "[INST]", "[TOOL_CALLS]"]) == [0, 1, 2, 3, 5]
    assert (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    assert theirs.vocab_size == len(theirs) == ours.vocab_size
    ids = [1, 3, *ours.encode("hello"), 4, 2]
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids) == "hello"
    chat = theirs.encode("[INST]hello[/INST]", split_special_tokens=False)
    assert chat == ids[:-1], "a chat template's text, each part with a space before it as mistral-common encodes it"


def test_the_library_alone_reads_it(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    write_tokenizer_json(TINY, tmp_path)
    alone, ours = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")), Tokenizer.load(TINY)
    assert alone.encode("a [INST]").ids[-1] == 3
    alone.encode_special_tokens = True
    for text in HARD:
        assert alone.encode(text).ids == ours.encode(text, bos=True)


def test_v3_of_mistral_common_is_equal_but_for_its_user_defined_pieces(tmp_path: Path) -> None:
    v3 = Tokenizer.published("v3")
    from transformers import AutoTokenizer

    write_tokenizer_json(v3.path, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in HARD:
        same((v3, theirs), text)
    assert 751 in v3.encode("a [REFERENCE_DOC_19]")
    assert 751 not in theirs.encode("a [REFERENCE_DOC_19]")
    assert theirs.decode(theirs.encode("a [REFERENCE_DOC_19]"), skip_special_tokens=True) == "a [REFERENCE_DOC_19]"


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for folder in (tmp_path, tmp_path / "again"):
        write_tokenizer_json(TINY, folder)
    assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "again" / "tokenizer.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json already exists"):
        write_tokenizer_json(TINY, tmp_path)
    write_tokenizer_json(TINY, tmp_path, force=True)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["split_special_tokens"] is True


def small(*extra: Piece, **switches: bool) -> SpmModel:
    """A vocabulary of "a", "b", what `extra` adds, and all bytes."""
    pieces = [Piece("<unk>", 0, UNKNOWN), Piece("<s>", 0, CONTROL), Piece("</s>", 0, CONTROL)]
    pieces += [Piece(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)]
    pieces += [*extra, *(Piece(text, -9.0 - i, NORMAL) for i, text in enumerate("ab▁"))]
    return SpmModel(tuple(pieces), **{"add_dummy_prefix": True, "remove_extra_whitespaces": False, **switches})


def test_merges_are_every_cut_in_the_order_of_the_scores() -> None:
    made = small(Piece("aba", -2.0, NORMAL), Piece("ba", -1.0, NORMAL), Piece("ab", 0.0, NORMAL), Piece("abc", -3.0, NORMAL))
    assert list(merges(made)) == [("a", "b"), ("b", "a"), ("a", "ba"), ("ab", "a")]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (small(Piece("c", 0, UNUSED)), "has an unused piece 'c', which a tokenizer.json cannot say"),
        (small(remove_extra_whitespaces=True), "has remove_extra_whitespaces"),
        (small(Piece("a", 0, NORMAL)), "two of its pieces have the same name"),
        (SpmModel(tuple(piece for piece in small().pieces if piece.text != "<0x41>"), True, False), "every byte a piece"),
        (SpmModel(small().pieces[1:], True, False), "<unk> and <s> must have the ids 0 and 1"),
    ],
)
def test_what_it_cannot_say_is_refused(tmp_path: Path, made: SpmModel, said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        tokenizer_json(made)
    (tmp_path / "odd.model").write_bytes(encode(made))
    with pytest.raises(TokenizerError, match=f"odd.model: .*{said}"):
        write_tokenizer_json(tmp_path / "odd.model", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.model"]


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="cannot be read: No such file"):
        write_tokenizer_json(tmp_path / "gone.model", tmp_path)
    shutil.copyfile(__file__, tmp_path / "odd.model")
    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        write_tokenizer_json(tmp_path / "odd.model", tmp_path)

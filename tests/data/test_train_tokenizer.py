"""A trained tokenizer: v3's layout, any text back as it was, the same ids in the three libraries, the same bytes again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.train_tokenizer import JsonTexts, TokenizerRecipe, drawn, json_texts, lines, train_tokenizer
from mistral7b.errors import CheckpointError, DataError, RecipeError
from mistral7b.recipe import read_recipe
from mistral7b.tokens.tokenizer import Tokenizer
from tests.data import made

RECIPE = """\
documents: ${DATA}/documents
sources: {stories: 60_000, books: 9_000_000}
vocab_size: 1200
json_texts:
  - {folder: "${DATA}/instruct", characters: 4000}
max_sentence_length: 400
seed: 3
"""
CALL = {"name": "weather", "arguments": {"city": "Paris", "days": 3}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    made.documents(folder / "documents", {"stories": made.prose(1, 900), "books": made.prose(2, 60)}, {"books": made.prose(3, 9)})
    (folder / "instruct" / "deep").mkdir(parents=True)
    (folder / "instruct" / "calls.json").write_text(json.dumps([{"tool": CALL, "text": "Use the tool."}] * 30))
    (folder / "instruct" / "deep" / "more.jsonl").write_text("".join(json.dumps(CALL) + "\n\n" for _ in range(30)))
    return folder


@pytest.fixture(scope="module")
def recipe(data: Path) -> TokenizerRecipe:
    (data / "recipe.yaml").write_text(RECIPE)
    return read_recipe(data / "recipe.yaml", TokenizerRecipe, {"DATA": str(data)})


@pytest.fixture(scope="module")
def trained(recipe: TokenizerRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "tokenizer"
    report = train_tokenizer(recipe, out)
    assert report.path == out / "tokenizer.model.v3"
    assert report.vocab_size == 1200
    assert 65_000 < report.characters < 85_000, "some 60,000 of the stories, and the 10,000 or so that the books have"
    assert 2 < report.bytes_per_token["books"] < 8
    assert "stories" not in report.bytes_per_token, "nothing of it is held out"
    return out


def test_it_has_v3s_layout(trained: Path) -> None:
    ours, v3 = Tokenizer.load(trained / "tokenizer.model.v3"), Tokenizer.published("v3")
    assert [path.name for path in sorted(trained.iterdir())] == ["tokenizer.json", "tokenizer.model.v3", "tokenizer_config.json"]
    assert [ours.piece(id) for id in range(1027)] == [v3.piece(id) for id in range(1027)]
    assert all(ours.is_control(id) for id in (1, 2, *range(3, 771)))
    assert all(ours.is_byte(id) for id in range(771, 1027))
    assert not any(ours.is_control(id) or ours.is_byte(id) for id in range(1027, 1200))
    assert (ours.version, ours._processor.pad_id()) == ("v3", -1)


def test_mistral_common_reads_it(trained: Path) -> None:
    from mistral_common.tokens.tokenizers.base import TokenizerVersion
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

    ours = Tokenizer.load(trained / "tokenizer.model.v3")
    theirs = SentencePieceTokenizer(trained / "tokenizer.model.v3", TokenizerVersion.v3)
    for text in (*made.prose(9, 20), "[INST] a", "日本"):
        assert theirs.encode(text, bos=True, eos=True) == [1, *ours.encode(text), 2]
    assert theirs.get_special_token("[TOOL_CALLS]") == 5


@pytest.fixture(scope="module")
def beside(trained: Path) -> tuple[Tokenizer, Any]:
    from transformers import AutoTokenizer

    return Tokenizer.load(trained / "tokenizer.model.v3"), AutoTokenizer.from_pretrained(trained)


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from(" \n\tbakelo[INST]</s>é😀")))
def test_any_text_comes_back_and_transformers_gives_its_ids(beside: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = beside
    ids = ours.encode(text, bos=True)
    assert ours.decode(ids) == text.replace("\u2581", " ")
    assert theirs.encode(text) == ids
    assert not any(ours.is_control(id) for id in ids[1:])


def test_json_does_not_shatter(beside: tuple[Tokenizer, Any]) -> None:
    text = json.dumps(CALL)
    assert len(beside[0].encode(text)) < len(text) / 2


def test_the_same_recipe_gives_the_same_bytes(recipe: TokenizerRecipe, trained: Path, tmp_path: Path, data: Path) -> None:
    train_tokenizer(recipe, tmp_path / "again")
    for path in trained.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    assert str(data).encode() not in (trained / "tokenizer.model.v3").read_bytes()
    assert str(trained).encode() not in (trained / "tokenizer.model.v3").read_bytes()


def test_what_is_there_is_refused_before_the_work(
    recipe: TokenizerRecipe, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistral7b.data.train_tokenizer._trained", lambda *_: pytest.fail("trained in vain"))
    with pytest.raises(CheckpointError, match="already exists"):
        train_tokenizer(recipe, trained)


def test_threads_change_no_piece(recipe: TokenizerRecipe, trained: Path, tmp_path: Path) -> None:
    train_tokenizer(replace(recipe, threads=3), tmp_path / "three")
    assert (tmp_path / "three" / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()


def test_texts_are_drawn_from_all_over(data: Path) -> None:
    texts = made.prose(1, 900)
    total = sum(map(len, texts))
    chosen = list(drawn("stories", lambda: iter(texts), total // 3, seed=1))
    assert 0.25 < sum(map(len, chosen)) / total < 0.42
    assert chosen != list(drawn("stories", lambda: iter(texts), total // 3, seed=2))
    places = [texts.index(text) for text in chosen]
    assert places == sorted(places)
    assert places[0] < 30
    assert places[-1] > 870
    assert list(drawn("stories", lambda: iter(texts), 10**9, seed=1)) == texts


@given(text=st.text(), n_bytes=st.integers(4, 12))
def test_lines_are_cut_and_not_dropped(text: str, n_bytes: int) -> None:
    found = list(lines(text, n_bytes))
    assert "".join(found) == text.replace("\n", "")
    assert all(1 <= len(line.encode()) <= n_bytes for line in found)


def test_json_files(data: Path, tmp_path: Path) -> None:
    found = list(json_texts(data / "instruct"))
    assert found[:3] == [json.dumps({"tool": CALL, "text": "Use the tool."}), "weather", "Paris"]
    assert found.count("Use the tool.") == 30
    assert found.count(json.dumps(CALL)) == 30
    with pytest.raises(DataError, match=r"holds no \.json or \.jsonl file"):
        list(json_texts(tmp_path))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json cannot be read as JSON"):
        list(json_texts(tmp_path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("vocab_size: 1027", "vocab_size must be above 1,027"),
        ("sources: {}\njson_texts: []", "it names no sources"),
        ("sources: {stories: 0}", "must be 1 or more"),
        ("character_coverage: 0.5", "from 0.9 to 1"),
        ("threads: 0", "threads at least 1"),
        ("sauces: {}", "sauces is not known; did you mean sources?"),
    ],
)
def test_recipes_that_make_no_sense(data: Path, tmp_path: Path, line: str, said: str) -> None:
    keys = [each.split(":")[0] for each in line.splitlines()]
    kept = [each for each in RECIPE.splitlines() if each.split(":")[0] not in keys]
    if "json_texts" in keys:
        kept = [each for each in kept if not each.startswith("  -")]
    (tmp_path / "recipe.yaml").write_text("\n".join([*kept, *line.splitlines()]))
    with pytest.raises(RecipeError, match=said):
        read_recipe(tmp_path / "recipe.yaml", TokenizerRecipe, {"DATA": str(data)})


def test_sources_that_cannot_be_learned_from(data: Path, tmp_path: Path) -> None:
    held = made.documents(tmp_path / "held", {"full": ["ab abab"], "empty": [""]})
    for sources, size, said in (
        ({"gone": 5}, 1200, "has no source 'gone', only empty, full"),
        ({"empty": 5}, 1200, "empty has no text to learn a tokenizer from"),
        ({"full": 5}, 9000, "cannot be trained: Vocabulary size too high"),
    ):
        with pytest.raises(DataError, match=said) as refused:
            train_tokenizer(TokenizerRecipe(held, sources, size), tmp_path / "out")
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"holds no \.json"):
        train_tokenizer(TokenizerRecipe(held, {}, 1200, (JsonTexts(tmp_path / "none", 5),)), tmp_path / "out")

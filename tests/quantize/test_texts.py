"""Lines of text to sequences of ids."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from mistral7b.errors import RequestError
from mistral7b.quantize.texts import batches, read_texts, sequences, split
from mistral7b.tokens.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(Path(str(files("mistral7b.models.tiny") / "tokenizer.model.v3")))


def lines(path: Path, *values: object) -> Path:
    path.write_text("\n".join(value if isinstance(value, str) else json.dumps(value) for value in values), encoding="utf-8")
    return path


def test_empty_lines_and_texts_are_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path / "t.jsonl", {"text": "a", "title": "x"}, "", {"text": " \n"}, {"text": "b\n"})
    assert read_texts(path) == ["a", "b\n"]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ((({"text": "a"}), "{"), "line 2: not JSON"),
        ((["a"],), 'line 1: not an object with a "text"'),
        (({"text": 1},), 'line 1: not an object with a "text"'),
        (("",), "holds no text"),
        (("[" * 100_000,), "line 1: not JSON"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, held: tuple[object, ...], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_texts(lines(tmp_path / "t.jsonl", *held))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path / "b", "is not UTF-8"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(RequestError, match=said):
            read_texts(path)


def test_every_eighth_is_held_out() -> None:
    given = [str(i) for i in range(17)]
    kept, measured = split(given)
    assert measured == ["7", "15"]
    assert sorted([*kept, *measured], key=int) == given


def test_first_pieces_of_all_come_before_second_ones(tokenizer: Tokenizer) -> None:
    long, short = "word and " * 100, "a tree by the river " * 6
    found = sequences(tokenizer, [long, "too short", short], 5, 64)
    whole = tokenizer.encode(long)
    assert found[0] == [tokenizer.bos_id, *whole[:63]]
    assert found[1] == [tokenizer.bos_id, *tokenizer.encode(short)][:64]
    assert found[2] == [tokenizer.bos_id, *whole[63:126]]
    assert len(sequences(tokenizer, [long], 2, 64)) == 2
    assert sum(len(batch.ids) for batch in batches(found)) == sum(map(len, found))
    with pytest.raises(RequestError, match="no text is longer than 16 tokens"):
        sequences(tokenizer, ["short"], 5, 64)


def test_batches_hold_whole_sequences_of_two_thousand_tokens() -> None:
    found = [[1] * 700] * 7
    made = batches(found)
    assert [len(batch.borders) - 1 for batch in made] == [2, 2, 2, 1]
    assert len(batches([[1] * 5000])) == 1

"""What is said of data files that are missing or broken: the file, the line, and what to do."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.sources.families import FAMILIES
from mistral7b.evals.sources.files import Folder, Row, choices, index
from tests.evals.items import BBH, MMLU, put, write_items


def plain(held: Any) -> Row:
    return {"word": held["word"]}


def test_lines_become_rows_and_the_file_is_hashed(tmp_path: Path) -> None:
    text = '{"word": "one\u2028"}\n\n{"word": "two"}'
    put(tmp_path / "a/words.jsonl", text)
    folder = Folder(tmp_path)
    assert folder.jsonl("a/words.jsonl", plain) == [{"word": "one\u2028"}, {"word": "two"}]
    assert folder.hashes == {"a/words.jsonl": hashlib.sha256(text.encode()).hexdigest()}
    put(tmp_path / "words.jsonl.gz", gzip.compress(text.encode()))
    assert len(folder.jsonl("words.jsonl.gz", plain)) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"word": "one"}\n{"word": two}\n', r"words\.jsonl:2: Expecting value.*evaluation-data\.md has its fields"),
        (b'{"word": "one"}\n\n{"name": "two"}\n', r"words\.jsonl:3: no 'word'"),
        (b'["one"]\n', r"words\.jsonl:1: "),
        (b"", r"words\.jsonl holds no items"),
        (b"\xff\n", r"words\.jsonl is not UTF-8 text: .* at byte 0"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    put(tmp_path / "words.jsonl", content)
    with pytest.raises(DataError, match=said) as caught:
        Folder(tmp_path).jsonl("words.jsonl", plain)
    assert "\n" not in str(caught.value)


def test_a_missing_or_cut_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"words\.jsonl is missing; docs/evaluation-data\.md says what to put there"):
        Folder(tmp_path).jsonl("words.jsonl", plain)
    whole = gzip.compress(b'{"word": "one"}\n')
    for broken in (whole[:-5], whole[:10] + b"\xff" * 8 + whole[18:], b"no gzip"):
        put(tmp_path / "words.jsonl.gz", broken)
        with pytest.raises(DataError, match=r"words\.jsonl\.gz cannot be unpacked: .*; fetch it again"):
            Folder(tmp_path).jsonl("words.jsonl.gz", plain)
    put(tmp_path / "words.json", "{\n'")
    with pytest.raises(DataError, match=r"words\.json:2: not JSON: "):
        Folder(tmp_path).json("words.json")


def test_a_record_over_several_lines_ends_where_it_is_named(tmp_path: Path) -> None:
    put(tmp_path / "table.csv", 'a,"b\nc"\nd\n')
    with pytest.raises(DataError, match=r"table\.csv:3: list index out of range"):
        Folder(tmp_path).csv("table.csv", lambda record: {"second": record[1]})


@given(st.integers(1, 10), st.integers(-3, 12))
def test_the_right_answer_is_one_of_them(size: int, place: int) -> None:
    texts = [str(at) for at in range(size)]
    if not 0 <= place < size:
        with pytest.raises(ValueError, match="is not the place of one of"):
            index(place, size)
        return
    made = choices(texts, place)
    assert made["choices"]["text"][made["choices"]["label"].index(made["answerKey"])] == texts[place]


SPARE = {"agieval/few_shot_prompts.csv", "commonsense_qa/train_rand_split.jsonl", "openbookqa/Main/train.tsv"}
NAMES = {"agieval": "lsat_ar", "arc": "arc_easy", "bbh": BBH[0], "mmlu": MMLU[0]}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_names_the_file_that_is_missing_or_broken(family: str, tmp_path: Path) -> None:
    """Each file of the family in turn is cut in half, then taken away; examples that the paper does not show may be."""
    write_items(tmp_path)
    name = NAMES.get(family, family)
    whole = Folder(tmp_path)
    FAMILIES[family].read(whole, name)
    assert whole.hashes
    for file in whole.hashes:
        path = tmp_path / file
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2] + b"\xff")
        with pytest.raises(DataError, match=path.name):
            FAMILIES[family].read(Folder(tmp_path), name)
        path.unlink()
        if file in SPARE:
            FAMILIES[family].read(Folder(tmp_path), name)
        else:
            with pytest.raises(DataError, match=f"{path.name} is missing"):
                FAMILIES[family].read(Folder(tmp_path), name)
        path.write_bytes(kept)

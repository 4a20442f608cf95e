"""The journal: what is put is there afterwards, in order, whatever a kill tears off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.answers import Answers, key_of
from tests.evals.full import full_at

VALUES = [("a", [-1.25e-7, True]), ("b", "é\n\u2028"), ("c", 0.0)]


def test_answers_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with Answers(path) as answers:
        for key, value in VALUES:
            assert answers.get(key) is None
            answers.put(key, value)
            answers.put(key, "another")
    with Answers(path) as again:
        assert [(key, again.get(key)) for key, _ in VALUES] == VALUES
        assert len(again) == 3
        again.put("d", 1)
    assert [json.loads(line)["key"] for line in path.read_bytes().splitlines()] == ["a", "b", "c", "d"]
    memory = Answers()
    memory.put("a", 1)
    assert memory.get("a") == 1


@given(st.data())
def test_a_torn_line_is_dropped_and_what_stood_before_stays(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "answers.jsonl"
    with Answers(path) as answers:
        for key, value in VALUES:
            answers.put(key, value)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = (whole[:cut] + b"\n").count(b"}\n")  # one may lack its line break
    with Answers(path) as again:
        assert len(again) == kept
        for key, value in VALUES:
            again.put(key, value)
    assert path.read_bytes() == whole


def test_what_is_put_outlives_a_process_that_never_closes(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.put("a", 1)
    assert json.loads((tmp_path / "answers.jsonl").read_bytes()) == {"key": "a", "value": 1}
    with pytest.raises(DataError, match="being written by another run"):
        Answers(tmp_path / "answers.jsonl")
    answers.close()


@pytest.mark.parametrize("room", range(0, 20, 5))
def test_what_the_disk_had_no_room_for_is_no_answer(tmp_path: Path, room: int) -> None:
    path = tmp_path / "answers.jsonl"
    with Answers(path) as answers:
        answers.put("a", 1)
        before = path.read_bytes()
        with full_at(len(before) + room), pytest.raises(DataError, match=r"answers\.jsonl cannot be written: File too large"):
            answers.put("b", "x" * 9999)
        assert (answers.get("b"), path.read_bytes()) == (None, before)
        answers.put("b", 2)
    with Answers(path) as again:
        assert (again.get("a"), again.get("b")) == (1, 2)


@pytest.mark.parametrize("line", [b"no json", b"[1]", b'{"key": "a"}', b"\xff"])
def test_a_line_that_is_no_answer(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"key": "a", "value": 1}\n' + line + b"\n")
    for _ in range(2):  # and the file is let go
        with pytest.raises(DataError, match="line 2: this is no answer"):
            Answers(path)
    with pytest.raises(DataError, match="cannot be opened"):
        Answers(tmp_path / "missing" / "answers.jsonl")


def test_keys() -> None:
    assert key_of("m", "loglikelihood", ["a", "b"], None, 0, 1) == key_of("m", "loglikelihood", ["a", "b"], None, 0, 1)
    assert key_of("m", ["ab", ""]) != key_of("m", ["a", "b"])
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of("\ud800") != key_of("\ud801")

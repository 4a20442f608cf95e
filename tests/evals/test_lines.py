"""A file of lines that only grows, whatever a kill left at its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.lines import Lines, read_lines
from tests.evals.full import full_at

RECORDS = [{"n": 1, "text": "é\n\u2028"}, {"n": 2}, {"n": 3, "list": [1, None]}]


def test_what_was_added_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with Lines(path) as lines:
        for record in RECORDS:
            lines.add(record)
            assert read_lines(path) == lines.records, "on the disk when add returns"
    with Lines(path) as lines:
        assert lines.records == RECORDS
        lines.add({"n": 4})
    assert read_lines(path) == [*RECORDS, {"n": 4}]


@given(cut=st.integers(0, 200))
def test_a_file_cut_anywhere_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "lines.jsonl"
    whole = "".join(json.dumps(record) + "\n" for record in RECORDS)
    path.write_text(whole[:cut])
    held = whole[:cut].split("\n")
    complete = len(held) - 1
    if complete < len(RECORDS) and held[-1] == json.dumps(RECORDS[complete]):
        complete += 1  # only its line break is missing
    with Lines(path) as lines:
        assert lines.records == RECORDS[:complete]
        lines.add({"n": 9})
    assert read_lines(path) == [*RECORDS[:complete], {"n": 9}]


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Lines(None) as lines:
        lines.add({"n": 1})
        assert lines.records == [{"n": 1}]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n": 1}\n\n' + line + '\n{"n": 2}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"lines\.jsonl, line 3: not JSON"):
        Lines(path)
    with pytest.raises(DataError, match=r"gone\.jsonl cannot be read: No such file"):
        read_lines(tmp_path / "gone.jsonl")


def test_a_run_of_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for _ in range(2):
        with Lines(path) as lines:
            lines.agree({"model": "a", "seed": 1})
    assert read_lines(path) == [{"settings": {"model": "a", "seed": 1}}]
    with Lines(path) as lines, pytest.raises(DataError, match="was begun with another seed"):
        lines.agree({"model": "a", "seed": 2})


@pytest.mark.parametrize("room", range(0, 20, 5))
def test_what_the_disk_had_no_room_for_is_not_kept(tmp_path: Path, room: int) -> None:
    path = tmp_path / "lines.jsonl"
    with Lines(path) as lines:
        lines.add({"n": 1})
        before = path.read_bytes()
        with full_at(len(before) + room), pytest.raises(DataError, match=r"lines\.jsonl cannot be written: File too large"):
            lines.add({"lost": "x" * 9999})
        assert (lines.records, path.read_bytes()) == ([{"n": 1}], before)
        lines.add({"n": 2})
    assert read_lines(path) == [{"n": 1}, {"n": 2}]


def test_one_run_at_a_time_writes(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with Lines(path) as lines:
        lines.add({"n": 1})
        begun = path.read_bytes() + b'{"n":'
        path.write_bytes(begun)  # the first run is just adding this
        with pytest.raises(DataError, match="being written by another run"):
            Lines(path)
        assert path.read_bytes() == begun
    Lines(path).close()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing/lines\.jsonl cannot be opened: No such file"):
        Lines(tmp_path / "missing" / "lines.jsonl")

"""Files in parts are the files, whatever the parts and whoever works on them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.instruct import parts as parts_room
from mistral7b.data.instruct.check import check, corrected
from mistral7b.data.instruct.encoding import Encoded, Encoding, TooLong
from mistral7b.data.instruct.layouts import read_dialogues
from mistral7b.data.instruct.parts import parts
from mistral7b.data.instruct.samples import Samples
from mistral7b.errors import DataError
from mistral7b.tokens.tokenizer import Tokenizer

V3 = Tokenizer.published("v3")
ASKED = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there!"}]
RECORDS = [
    {"text": "word " * 40},
    {"messages": ASKED},
    {"messages": [ASKED[0], {"role": "assistant", "content": "word " * 40}]},
    {"messages": ASKED, "tools": [{"name": "f", "parameters": {}}]},
    {"instruction": "Greet.", "instances": [{"input": "", "output": reply} for reply in ("Hi", "Ho")]},  # two dialogues
    {"messages": [*ASKED, ASKED[0]]},
    {"messages": ASKED[:1]},
    {"x": 1},
]
FILES = st.lists(st.lists(st.sampled_from(RECORDS), max_size=8), min_size=1, max_size=3)  # a file of none is a fault


def lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def encoded(files: list[Path], size: int, too_long: TooLong) -> tuple[Encoded, list[int]]:
    """What is read up to the first fault, and the samples up to the end of each file."""
    whole, ends = Encoded(), []
    for part in parts(files, {}, size=size):
        made = Encoding(V3, 32, "assistant", too_long)(part)
        whole.add(made)
        whole.fault = made.fault
        if made.fault:
            break
        if made.is_last:
            ends.append(len(whole.lengths))
    return whole, ends


@given(records=FILES, size=st.integers(1, 9), too_long=st.sampled_from(["refuse", "drop", "cut"]))
def test_in_parts_as_whole(
    tmp_path_factory: pytest.TempPathFactory, records: list[list[Any]], size: int, too_long: TooLong
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    files = [lines(folder / f"{i}.jsonl", held) for i, held in enumerate(records)]
    some = list(parts(files, {}, size=size))
    for path, held in zip(files, records, strict=True):
        (*before, last) = (part for part in some if part.path == path)
        assert last.is_last
        assert (last.fault is None) == bool(held)
        assert all(not part.is_last and part.fault is None for part in before)
        found = [found for part in (*before, last) for found in part.dialogues]
        assert found == (list(read_dialogues(path, {})) if held else [])
        assert all(len(part.dialogues) >= size for part in before)
    places = Counter(place for part in some for place in {found.place for found in part.dialogues})
    assert set(places.values()) <= {1}
    assert encoded(files, size, too_long) == encoded(files, 1000, too_long)


def many(folder: Path, faults: bool) -> list[Path]:
    """2,100 texts and dialogues in two files, the faults, if any, in the middle of the second and at its end."""
    dialogues = [{"text": f"Once upon {n} times"} for n in range(1600)] + [
        {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": "word " * (n % 40 + 1)}]}
        for n in range(500)
    ]
    second = dialogues[1000:]
    if faults:
        second[500:500] = [{"messages": [*ASKED, ASKED[0]], "id": 7}, {"x": 1}]
        second.append({"messages": ASKED[:1]})
    return [lines(folder / "a.jsonl", dialogues[:1000]), lines(folder / "b.jsonl", second)]


def test_several_processes_read_what_one_does(tmp_path: Path) -> None:
    files, beats = many(tmp_path, faults=False), Counter[str]()
    one, two = (Samples.read(files, V3, length=32, too_long="cut", processes=n, beat=lambda: beats.update("b")) for n in (1, 2))
    for mine, theirs in zip(astuple(one), astuple(two), strict=True):
        assert np.array_equal(mine, theirs)
    assert one.cut
    assert beats["b"] > 2 * 2000


def test_several_processes_find_the_faults_that_one_does(tmp_path: Path) -> None:
    files = many(tmp_path, faults=True)
    with pytest.raises(DataError) as error:
        Samples.read(files, V3, length=32, too_long="cut", processes=2)
    assert str(error.value).startswith(f"{files[1]}, line 501: message 3 from the user is followed by no reply")
    missing = [*files, tmp_path / "none.jsonl"]
    targets = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    reports = [corrected(missing, target, V3, processes=n) for n, target in enumerate(targets, start=1)]
    assert [len(report.faults) for report in reports] == [4, 4]
    assert reports[0] == reports[1] == check(missing, V3, processes=2)
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_few_dialogues_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> NoReturn:
        raise AssertionError("processes would be started")

    monkeypatch.setattr(parts_room, "in_order", never)
    files = many(tmp_path, faults=False)
    assert len(Samples.read(files[:1], V3, length=64, processes=8))
    with pytest.raises(AssertionError, match="would be"):
        Samples.read(files, V3, length=64, processes=8)

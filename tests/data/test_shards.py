"""Shards on disk: read as they were written, and refused when they are not what the manifest says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.shards import Counts, Shards, Stream
from mistral7b.errors import DataError
from tests.data.made import BOS, EOS, shards

TRAIN = {"a": [[[BOS, 5, EOS], [BOS, EOS]], [[BOS, 6, 7, EOS]]], "b": [[[BOS, 65_535, EOS]]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shards(tmp_path / "shards", TRAIN, {"a": [[[BOS, 9, EOS]]]})
    return tmp_path / "shards"


def test_what_was_written_is_read(folder: Path) -> None:
    held = Shards.open(folder)
    assert held.sources["a"].splits == {"train": Counts(3, 9, 9), "held-out": Counts(1, 3, 3)}
    stream = held.stream("train", "a")
    assert stream.length == 9
    assert stream.ids(0, 9).tolist() == [1, 5, 2, 1, 2, 1, 6, 7, 2]
    assert stream.borders(0, 9).tolist() == [3, 5, 9]
    assert held.stream("train", "b").ids(1, 1).tolist() == [65_535]
    assert held.stream("held-out", "a").ids(0, 3).tolist() == [BOS, 9, EOS]
    assert held.stream("held-out", "b").length == 0
    held.verify()


@given(
    lengths=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=4),
    start=st.integers(-30, 90),
    count=st.integers(1, 90),
)
def test_a_stream_is_a_ring(lengths: list[list[int]], start: int, count: int) -> None:
    parts, at = [], 0
    for shard in lengths:
        borders = np.cumsum([0, *shard])
        parts.append((np.arange(at, at + borders[-1], dtype=np.uint16), borders))
        at += int(borders[-1])
    stream = Stream(parts)
    begins = set(np.cumsum([n for shard in lengths for n in shard]) % at)
    assert stream.ids(start, count).tolist() == [(start + i) % at for i in range(count)]
    assert stream.borders(start, count).tolist() == [i for i in range(1, count + 1) if (start + i) % at in begins]


def test_a_changed_byte_is_found(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    for name in ("train/a/00001.tokens.npy", "held-out/a/00000.borders.npy"):
        raw = bytearray((folder / name).read_bytes())
        raw[-1] ^= 1
        (folder / name).write_bytes(raw)
        held = Shards.open(folder)
        with pytest.raises(DataError, match=f"{name} was changed since it was written"):
            held.verify()
        raw[-1] ^= 1
        (folder / name).write_bytes(raw)
    held.verify(lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == sum(file.size for file in held.files.values())


def test_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.model").write_bytes(b"other")
    with pytest.raises(DataError, match=r"was made with another tokenizer than .*other\.model: sha256 000000000000\.\.\., not"):
        Shards.open(folder, tmp_path / "other.model")
    with pytest.raises(DataError, match="cannot be read"):
        Shards.open(folder, tmp_path / "gone.model")


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return harm


def cut(folder: Path) -> None:
    path = folder / "train/a/00000.tokens.npy"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut, "00000.tokens.npy has 137 bytes where its manifest states 138"),
        (lambda folder: (folder / "train/b/00000.borders.npy").unlink(), "00000.borders.npy is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "has no manifest.json: .* did not finish"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is not a JSON object"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is not a JSON object"),
        (edited(lambda m: m.update(format="mistral7b-documents-1")), "is of the format 'mistral7b-documents-1'"),
        (edited(lambda m: m.update(files=[])), "no table of files"),
        (edited(lambda m: m["files"].update({"../x": {"sha256": "0" * 64, "size": 1}})), "no file inside its folder"),
        (edited(lambda m: m["files"].update({"/etc/x": {"sha256": "0" * 64, "size": 1}})), "no file inside its folder"),
        (edited(lambda m: m["files"].update({"x": {"sha256": "0", "size": 1}})), "gives x no sha256 and size"),
        (edited(lambda m: m.update(sources={})), "no table of sources"),
        (edited(lambda m: m["sources"]["a"].pop("epochs")), "gives the source a no number of epochs"),
        (edited(lambda m: m["sources"]["a"].pop("held-out")), "does not count the held-out documents, tokens and bytes of a"),
        (edited(lambda m: m["sources"].update({"..": m["sources"]["a"]})), "cannot be a folder"),
        (edited(lambda m: m.update(dtype="object")), "gives the ids no dtype"),
        (edited(lambda m: m.pop("tokenizer")), "does not say which tokenizer"),
    ],
)
def test_what_is_no_folder_of_shards_is_refused_at_once(folder: Path, harm: Callable[[Path], None], said: str) -> None:
    harm(folder)
    with pytest.raises(DataError, match=said) as refused:
        Shards.open(folder)
    assert "\n" not in str(refused.value)


def replaced(array: Any) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        path = folder / "train/b/00000.borders.npy"
        np.save(path, array)
        edited(lambda m: m["files"]["train/b/00000.borders.npy"].update(size=path.stat().st_size))(folder)

    return harm


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (replaced(np.array([0, 2])), "does not fit its tokens"),
        (replaced(np.array([1, 3])), "does not fit its tokens"),
        (replaced(np.array([3])), "does not fit its tokens"),
        (replaced(np.array([0, 3], dtype=np.int32)), "holds 1 dimensions of int32, not one of int64"),
        (replaced(np.array([[0, 3]])), "holds 2 dimensions"),
        (replaced(np.array([{}], dtype=object)), "cannot be read as an array"),
        (edited(lambda m: m["sources"]["b"]["train"].update(tokens=4)), "holds 3 tokens where its manifest states 4"),
    ],
)
def test_files_that_do_not_fit_are_refused_when_read(folder: Path, harm: Callable[[Path], None], said: str) -> None:
    harm(folder)
    held = Shards.open(folder)
    with pytest.raises(DataError, match=said):
        held.stream("train", "b")


def test_shards_are_in_the_order_of_their_numbers(folder: Path) -> None:
    """99999 comes before 100000."""
    for what in ("tokens", "borders"):
        shutil.move(folder / f"train/a/00000.{what}.npy", folder / f"train/a/99999.{what}.npy")
        shutil.move(folder / f"train/a/00001.{what}.npy", folder / f"train/a/100000.{what}.npy")

    def rename(manifest: dict[str, Any]) -> None:
        for old, new in (("00000", "99999"), ("00001", "100000")):
            for what in ("tokens", "borders"):
                manifest["files"][f"train/a/{new}.{what}.npy"] = manifest["files"].pop(f"train/a/{old}.{what}.npy")

    edited(rename)(folder)
    assert Shards.open(folder).stream("train", "a").ids(0, 3).tolist() == [1, 5, 2]

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from mistral7b.checkpoint.aside import PTH
from mistral7b.checkpoint.pth import PthSource
from mistral7b.checkpoint.source import check, expected_shapes
from mistral7b.errors import CheckpointError
from tests.checkpoint import made


class Payload:
    """What a hostile checkpoint holds: unpickling it would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("mapped", [True, False])
def test_reads_back_what_was_written(tmp_path: Path, mapped: bool) -> None:
    whole = made.weights()
    with PthSource(made.pth(tmp_path, whole), mapped=mapped) as source:
        assert source.names() == list(expected_shapes(made.SMALL))
        check(source, made.SMALL)
        for _ in range(2):  # reading a tensor again after its pages were given back
            assert all(torch.equal(source.get(name), tensor) for name, tensor in whole.items())


def test_other_plain_shapes_of_the_same_thing(tmp_path: Path) -> None:
    whole = made.weights()
    torch.save(OrderedDict(whole) | {"norm.weight": torch.nn.Parameter(whole["norm.weight"]).data}, tmp_path / PTH)
    with PthSource(tmp_path) as source:
        check(source, made.SMALL)
    torch.save(whole | {"output.weight": whole["output.weight"].T.contiguous().T}, tmp_path / PTH)
    with PthSource(tmp_path) as source:
        assert source.get("output.weight").is_contiguous()
        assert torch.equal(source.get("output.weight"), whole["output.weight"])


def test_no_code_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists(), "the payload works where pickles are trusted"
    marker.unlink()
    for number, hostile in enumerate(
        (Payload(marker), {"norm.weight": Payload(marker)}, made.weights() | {"x": Payload(marker)})
    ):
        for new_format in (True, False):
            folder = tmp_path / f"{number}-{new_format}"
            folder.mkdir()
            torch.save(hostile, folder / PTH, _use_new_zipfile_serialization=new_format)
            with pytest.raises(CheckpointError, match=r"refused|before torch 1\.6") as caught:
                PthSource(folder)
            assert "\n" not in str(caught.value)
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / PTH).write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(CheckpointError):
        PthSource(plain)
    assert not marker.exists()


@pytest.mark.parametrize("held", [[torch.ones(2)], {1: torch.ones(2)}, {"a": {"b": torch.ones(2)}}, {"a": 3}, torch.ones(2)])
def test_anything_but_named_tensors_is_refused(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / PTH)
    with pytest.raises(CheckpointError, match="refused: it must hold one table of named tensors"):
        PthSource(tmp_path)


def test_sparse_and_meta_tensors_are_refused(tmp_path: Path) -> None:
    for tensor in (torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta")):
        torch.save({"norm.weight": tensor}, tmp_path / PTH)
        with pytest.raises(CheckpointError):
            PthSource(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated(tmp_path: Path, keep: float) -> None:
    path = made.pth(tmp_path, made.weights()) / PTH
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match="truncated"):
        PthSource(tmp_path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / PTH, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(CheckpointError, match="damaged"):
        PthSource(tmp_path)


def test_missing_and_split(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no consolidated\.00\.pth"):
        PthSource(tmp_path)
    made.pth(tmp_path, made.weights())
    with PthSource(tmp_path) as source, pytest.raises(CheckpointError, match="lacks nowhere"):
        source.shape("nowhere")
    (tmp_path / "consolidated.01.pth").touch()
    with pytest.raises(CheckpointError, match="split over several"):
        PthSource(tmp_path)

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mistral7b.checkpoint.aside import aside
from mistral7b.errors import CheckpointError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(made: Path, text: str = "new") -> None:
    (made / "config.json").write_text(text)


def test_a_folder_takes_its_name_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with aside(target, needs=3, folder=True, force=False) as made:
        fill(made)
        assert not target.exists()
    assert names(tmp_path) == ["model"]
    assert names(target) == ["config.json"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    with aside(target, needs=3, folder=True, force=False) as made:
        fill(made)
    assert names(target) == ["config.json"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug"), KeyboardInterrupt()])
def test_nothing_stays_of_a_failure(tmp_path: Path, error: BaseException) -> None:
    expected = CheckpointError if isinstance(error, OSError) else type(error)

    def write() -> None:
        with aside(tmp_path / "model", needs=3 << 20, folder=True, force=False) as made:
            fill(made)
            raise error

    with pytest.raises(expected) as caught:
        write()
    assert names(tmp_path) == []
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value)
        assert "needs 3.0 MiB" in str(caught.value)


def test_room_is_asked_for_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 << 20))
    with pytest.raises(CheckpointError, match=r"needs 13\.5 GiB and its disk has 5\.0 MiB free"):
        aside(tmp_path / "model", needs=int(13.5 * 2**30), folder=True, force=False).__enter__()
    assert names(tmp_path) == []


def test_force_replaces_a_model_and_an_interrupted_one_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    fill(target, "old")
    (target / "consolidated.safetensors").touch()
    with pytest.raises(CheckpointError, match="--force"):
        aside(target, needs=3, folder=True, force=False).__enter__()
    rename = os.rename

    def failing(source: Path, destination: Path) -> None:
        if destination == target and source.parent != target.parent and source.name == "model":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(CheckpointError, match="Input/output"), aside(target, needs=3, folder=True, force=True) as made:
            fill(made)
    assert (target / "config.json").read_text() == "old"
    assert names(tmp_path) == ["model"]
    with aside(target, needs=3, folder=True, force=True) as made:
        fill(made)
    assert (target / "config.json").read_text() == "new"
    assert names(target) == ["config.json"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("stranger", ["thesis.txt", ".ssh"])
def test_force_never_deletes_what_is_no_model(tmp_path: Path, stranger: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "README.md").touch()
    (tmp_path / "home" / stranger).mkdir()
    with pytest.raises(CheckpointError, match=stranger):
        aside(tmp_path / "home", needs=3, folder=True, force=True).__enter__()
    assert names(tmp_path / "home") == sorted(["README.md", stranger])


def test_one_file(tmp_path: Path) -> None:
    target = tmp_path / "m.gguf"
    with aside(target, needs=3, folder=False, force=False) as made:
        made.write_text("old")
    with pytest.raises(CheckpointError, match="already exists"):
        aside(target, needs=3, folder=False, force=False).__enter__()
    with aside(target, needs=3, folder=False, force=True) as made:
        made.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["m.gguf"]


def test_a_target_of_the_other_kind_or_in_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target, folder in ((tmp_path / "file", True), (tmp_path, False), (tmp_path / "no" / "where", True)):
        with pytest.raises(CheckpointError, match=r"is a folder|is a file|is not a folder"):
            aside(target, needs=3, folder=folder, force=True).__enter__()
    assert names(tmp_path) == ["file"]


def test_a_model_with_a_manifest_is_still_only_a_model(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    for name in ("config.json", "manifest.json"):
        (target / name).write_text("{}")
    with aside(target, needs=1, folder=True, force=True) as made:
        (made / "params.json").write_text("{}")
    assert [path.name for path in target.iterdir()] == ["params.json"]


def test_the_working_directory_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for target in (Path(), tmp_path):
        with pytest.raises(CheckpointError, match="is the folder this runs in"), aside(target, needs=1, folder=True, force=True):
            raise AssertionError("it was let in")
    assert os.listdir(tmp_path) == []

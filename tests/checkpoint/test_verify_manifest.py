from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mistral7b.checkpoint.digest import BLOCK, sha256_of
from mistral7b.checkpoint.manifest import FileHash, compare, model_files, read_manifest, write_manifest
from mistral7b.errors import CheckpointError
from tests.checkpoint import made

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B


def test_sha256_in_blocks(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    assert (sha256_of(tmp_path / "abc"), sha256_of(tmp_path / "empty")) == (ABC, EMPTY)
    read: list[int] = []
    (tmp_path / "long").write_bytes(b"x" * (BLOCK + 7))
    sha256_of(tmp_path / "long", read.append)
    assert read == [BLOCK, 7]


def test_written_and_read_back(tmp_path: Path) -> None:
    folder = made.hf_sharded(tmp_path, made.weights())
    (folder / "notes.txt").touch()
    (folder / "README.md").write_bytes(b"abc")
    (folder / "__init__.py").touch()
    (folder / ".cache").mkdir()
    seen: list[tuple[int, int]] = []
    path = write_manifest(folder, progress=lambda done, total: seen.append((done, total)))
    assert path == folder / "manifest.json"
    assert seen[-1][0] == seen[-1][1] == sum(file.stat().st_size for file in model_files(folder))
    entries = read_manifest(path)
    assert list(entries) == sorted(entries)
    assert {"README.md", "config.json", "model.safetensors.index.json"} < entries.keys()
    assert entries["README.md"] == FileHash(ABC, 3)
    assert not entries.keys() & {"notes.txt", "__init__.py", "manifest.json"}
    before = path.read_bytes()
    assert write_manifest(folder).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == sorted({*entries, "manifest.json", "notes.txt", "__init__.py", ".cache"})


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.hf(tmp_path, made.weights())
    before = write_manifest(folder).read_bytes()
    (folder / "config.json").write_text("{}")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CheckpointError, match=r"was not written .No space left"):
        write_manifest(folder)
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["config.json", "manifest.json", "model.safetensors"]


def test_no_model_no_manifest(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="holds no model file"):
            write_manifest(folder)


@pytest.mark.parametrize(
    "entry",
    [{"a": 3}, {"a": {"sha256": "xyz", "size": 3}}, {"a": {"sha256": ABC, "size": "3"}}, {"a": {"sha256": ABC, "size": True}},
     {"a/b": {"sha256": ABC, "size": 3}}, {"a\\b": {"sha256": ABC, "size": 3}}, {"a\nb": {"sha256": ABC, "size": 3}},
     {"..": {"sha256": ABC, "size": 3}}, {"": {"sha256": ABC, "size": 3}}, {}, [], None],
)  # fmt: skip
def test_what_is_no_manifest(tmp_path: Path, entry: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"files": entry}))
    with pytest.raises(CheckpointError) as caught:
        read_manifest(tmp_path / "manifest.json")
    assert "\n" not in str(caught.value)


def test_a_manifest_of_any_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.write(json.dumps({"files": {"a": {"sha256": ABC, "size": 3}}}).encode().ljust((16 << 20) + 1))
    with pytest.raises(CheckpointError, match="has more than 16 MiB"):
        read_manifest(tmp_path / "manifest.json")


def test_compare() -> None:
    one, other = FileHash(ABC, 3), FileHash(EMPTY, 3)
    assert compare({"a": one}, {"a": one, "b": other}) == []
    assert compare({"a": one, "b": one, "c": one}, {"a": other, "b": FileHash(ABC, 4)}) == [
        f"a is changed: sha256 {EMPTY} where the manifest states {ABC}",
        "b has 4 bytes where the manifest states 3",
        "c is missing",
    ]

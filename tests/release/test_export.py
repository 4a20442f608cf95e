"""An export: one directory that proves itself, made whole or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mistral7b.checkpoint.manifest import MANIFEST, read_manifest
from mistral7b.errors import CheckpointError, ReleaseError
from mistral7b.release.check import Claim, check_folder
from mistral7b.release.export import export
from mistral7b.release.inspect import SIGNATURE
from tests.checkpoint import folders, made
from tests.release.published import SIGNER, bytes_of, release


def test_all_it_takes_to_check_it(tmp_path: Path) -> None:
    story = release(tmp_path / "story")
    (tmp_path / "it.torrent").write_bytes(b"d4:infode")
    seen: list[tuple[int, int]] = []
    written = export(
        story, tmp_path / "carry", name="story", source="magnet:?x", signer=SIGNER, torrent=tmp_path / "it.torrent",
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert folders.names(tmp_path / "carry") == ["README.md", "story", "story.pub", "story.sha256", "story.torrent"]
    assert len(written) == 4 + len(bytes_of(story))
    assert bytes_of(tmp_path / "carry" / "story") == bytes_of(story)
    assert check_folder(tmp_path / "carry" / "story", Claim(signed_by=SIGNER)).checks[1].status == "pass"
    assert seen[-1] == (sum(map(len, bytes_of(story).values())),) * 2
    page = (tmp_path / "carry" / "README.md").read_text()
    assert "mistral7b verify story --manifest story/manifest.json --signed-by story.pub" in page
    checked = subprocess.run(["sha256sum", "-c", "story.sha256"], cwd=tmp_path / "carry", capture_output=True, check=False)
    assert checked.returncode == 0
    assert checked.stdout.count(b": OK") == len(bytes_of(story)) - 2
    with pytest.raises(CheckpointError, match="already exists"):
        export(story, tmp_path / "carry", name="story", source="x")


def test_a_model_without_a_manifest_gets_one(tmp_path: Path) -> None:
    folder = made.consolidated(folders.folder(tmp_path, "plain"), made.weights())
    export(folder, tmp_path / "carry", name="plain", source="org/plain")
    assert folders.names(tmp_path / "carry") == ["README.md", "plain", "plain.sha256"]
    assert set(read_manifest(tmp_path / "carry" / "plain" / MANIFEST)) == {"consolidated.safetensors", "params.json"}
    assert not (folder / MANIFEST).exists(), "nor is the model touched"
    assert not (tmp_path / "carry" / "plain" / SIGNATURE).exists()
    assert "--signed-by" not in (tmp_path / "carry" / "README.md").read_text()


def test_no_model_and_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReleaseError, match="holds no model file"):
        export(folders.folder(tmp_path, "empty"), tmp_path / "carry", name="x", source="x")
    folder = made.consolidated(folders.folder(tmp_path, "plain"), made.weights())
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(CheckpointError, match="make room first"):
        export(folder, tmp_path / "carry", name="x", source="x")
    assert not (tmp_path / "carry").exists()


def test_a_part_says_that_it_is_one(tmp_path: Path) -> None:
    story = release(tmp_path / "story")
    for name in ("README.md", "config.json"):
        (story / name).unlink()
    (tmp_path / "it.torrent").write_bytes(b"d4:infode")
    export(story, tmp_path / "carry", name="story", source="x", signer=SIGNER, torrent=tmp_path / "it.torrent")
    checked = subprocess.run(["sha256sum", "-c", "story.sha256"], cwd=tmp_path / "carry", capture_output=True, check=False)
    assert (checked.returncode, checked.stdout.count(b": OK")) == (0, 2)
    page = (tmp_path / "carry" / "README.md").read_text()
    assert "A part, 2 of 4 files, of a model from x" in page
    assert "sha256sum -c story.sha256" in page
    assert "mistral7b" not in page, "neither verify, generate nor seed takes a part"

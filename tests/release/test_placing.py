from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import pytest

from mistral7b.checkpoint.manifest import FileHash, hash_files
from mistral7b.errors import ReleaseError
from mistral7b.release.placing import LINKED_FROM, bytes_to_copy, place, refuse_changes, stamps

LARGE = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "large").write_bytes(b"x" * LARGE)
    (folder / "small").write_bytes(b"y" * (LARGE - 1))
    (tmp_path / "target").mkdir()
    return folder


def hashes(folder: Path) -> dict[str, FileHash]:
    return hash_files(sorted(folder.iterdir()))


def test_large_ones_are_links_and_small_ones_copies(source: Path, tmp_path: Path) -> None:
    target, files, told = tmp_path / "target", hashes(source), list[tuple[int, int]]()
    assert bytes_to_copy(source, tmp_path, files, linked_from=LARGE) == LARGE - 1
    assert place(source, target, files, lambda done, total: told.append((done, total)), linked_from=LARGE) == {"large"}
    assert hashes(target) == files
    assert (target / "large").samefile(source / "large")
    assert not (target / "small").samefile(source / "small")
    assert told == [(LARGE, 2 * LARGE - 1), (2 * LARGE - 1, 2 * LARGE - 1)]


def test_a_symbolic_link_is_followed(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("large", "small"):
        (cache / name).symlink_to(source / name)
    files = hashes(cache)
    place(cache, tmp_path / "target", files, linked_from=LARGE)
    assert not any(path.is_symlink() for path in (tmp_path / "target").iterdir())
    assert hashes(tmp_path / "target") == files


def test_where_links_are_not_allowed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    assert place(source, tmp_path / "target", hashes(source), linked_from=LARGE) == set()
    assert hashes(tmp_path / "target") == hashes(source)


def test_a_copy_that_is_not_what_was_checked(source: Path, tmp_path: Path) -> None:
    files = hashes(source)
    (source / "small").write_bytes(b"z" * (LARGE - 1))
    with pytest.raises(ReleaseError, match="small was changed while it was released"):
        place(source, tmp_path / "target", files)


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_link_to_what_was_not_checked(source: Path, tmp_path: Path, how: str) -> None:
    before, files, target = stamps(source), hashes(source), tmp_path / "target"
    if how == "replaced":  # between the check and the link
        (source / "new").write_bytes(b"z" * LARGE)
        os.utime(source / "new", ns=(before["large"][2], before["large"][2]))
        os.replace(source / "new", source / "large")
    linked = place(source, target, files, linked_from=LARGE)
    if how == "in place":
        refuse_changes(before, target, linked)
        with (source / "large").open("r+b") as file:
            file.write(b"z")
        os.utime(source / "large", ns=(before["large"][2] + 1, before["large"][2] + 1))
    with pytest.raises(ReleaseError, match="large was changed while it was released; start again"):
        refuse_changes(before, target, linked)


def test_the_embedded_model_is_copied() -> None:
    weights = Path(str(resources.files("mistral7b.models.tiny"))) / "model.safetensors"
    assert weights.stat().st_size < LINKED_FROM

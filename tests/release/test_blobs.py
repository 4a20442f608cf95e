"""The shared store: content kept once, models whole or absent, room given back."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.checkpoint.manifest import FileHash, hash_files
from mistral7b.checkpoint.report import Check
from mistral7b.errors import StoreError
from mistral7b.release.blobs import Kept, Store
from mistral7b.release.home import Home, find_home, find_key_file
from mistral7b.release.quarantine import quarantine

CHECKS = (Check("source", "pass", "as stated"),)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Home(tmp_path / "home"))


def keep(store: Store, key: str, **files: bytes) -> Kept:
    folder = store.home.quarantine / key
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return store.keep(key, folder, f"https://host/{key}/", hash_files(sorted(folder.iterdir())), CHECKS)


def test_where_it_lives() -> None:
    assert find_home({"MISTRAL7B_HOME": "/mine"}) == Home(Path("/mine"))
    assert find_home({"XDG_CACHE_HOME": "/caches"}, "linux") == Home(Path("/caches/mistral7b"))
    assert find_home({"LOCALAPPDATA": "/local"}, "win32") == Home(Path("/local/mistral7b"))
    assert find_home({}, "linux").root == Path.home() / ".cache" / "mistral7b"
    assert find_key_file({"MISTRAL7B_HOME": "/mine"}) == Path("/mine/release.key")
    assert find_key_file({"XDG_CONFIG_HOME": "/settings"}, "linux") == Path("/settings/mistral7b/release.key")
    assert find_key_file({"APPDATA": "/roaming"}, "win32") == Path("/roaming/mistral7b/release.key")
    assert find_key_file({}, "linux") == Path.home() / ".config" / "mistral7b" / "release.key"
    assert find_home({}, "darwin").root == Path.home() / "Library" / "Caches" / "mistral7b"


def test_what_two_models_share_is_kept_once(store: Store) -> None:
    one, other = keep(store, "one", tokenizer=b"same", weights=b"1"), keep(store, "other", tokenizer=b"same", weights=b"2")
    assert {path.name: path.read_bytes() for path in other.folder.iterdir()} == {"tokenizer": b"same", "weights": b"2"}
    assert os.path.samefile(one.folder / "tokenizer", other.folder / "tokenizer")
    assert sorted(path.read_bytes() for path in store.home.blobs.iterdir()) == [b"1", b"2", b"same"]
    assert not (one.folder / "tokenizer").stat().st_mode & 0o222, "nobody writes through a link"
    assert [kept.key for kept in store.models()] == ["one", "other"]
    assert store.model("one") == one
    assert one.size == 5


def test_a_file_system_without_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(os, "link", no_link)
    kept = keep(store, "one", weights=b"1")
    assert (kept.folder / "weights").is_symlink()
    assert (kept.folder / "weights").read_bytes() == b"1"
    assert store.model("one") == kept


def test_a_model_that_lost_a_file_is_none(store: Store) -> None:
    kept = keep(store, "one", weights=b"1")
    (kept.folder / "weights").unlink()
    assert store.model("one") is None
    assert store.models() == []
    (store.home.models / "two.json").write_text("{}")
    (store.home.models / "three.json").write_text("no json")
    assert store.model("two") is store.model("three") is store.model("four") is None


def test_taking_what_is_there(store: Store, tmp_path: Path) -> None:
    keep(store, "one", weights=b"1")
    sha = hashlib.sha256(b"1").hexdigest()
    assert store.holds(FileHash(sha, 1))
    assert not store.holds(FileHash(sha, 2))
    assert store.take(sha, tmp_path / "copy", linked=False)
    assert (tmp_path / "copy").stat().st_nlink == 1, "a user's folder shares nothing with the store"
    assert store.take(sha, tmp_path / "link", linked=True)
    assert os.path.samefile(tmp_path / "link", store.home.blobs / sha)
    (store.home.blobs / sha).chmod(0o644)
    (store.home.blobs / sha).write_bytes(b"x")
    assert not store.take(sha, tmp_path / "other", linked=True), "damaged since"
    assert not (store.home.blobs / sha).exists()
    assert not store.take("0" * 64, tmp_path / "other", linked=True)


def test_a_damaged_blob_is_replaced_by_what_was_checked(store: Store) -> None:
    one = keep(store, "one", weights=b"1")
    (one.folder / "weights").chmod(0o644)
    (one.folder / "weights").write_bytes(b"x")
    assert (keep(store, "other", weights=b"1").folder / "weights").read_bytes() == b"1"


def test_pruning(store: Store) -> None:
    keep(store, "one", tokenizer=b"same", weights=b"11"), keep(store, "other", tokenizer=b"same", weights=b"222")
    (store.home.blobs / "orphan").write_bytes(b"12345")
    (store.home.models / ".three.partial").mkdir()
    (store.home.quarantine / "broken").mkdir(parents=True)
    (store.home.quarantine / "broken" / "weights.part").write_bytes(b"1234567")
    with quarantine(store.home.quarantine / "running") as room:
        (room / "weights.part").write_bytes(b"1")
        assert store.prune() == 12
        assert [path.name for path in store.home.quarantine.iterdir() if path.is_dir()] == ["running"], "another process is at it"
    assert store.prune() == 0
    store.drop("one")
    assert [kept.key for kept in store.models()] == ["other"]
    assert store.prune() == 2
    assert {path.name: path.read_bytes() for path in store.home.models.joinpath("other").iterdir()} == {
        "tokenizer": b"same", "weights": b"222",
    }  # fmt: skip
    with pytest.raises(StoreError, match="holds no model one; `mistral7b download --list`"):
        store.drop("one")
    (store.home.root / "mine").mkdir()
    (store.home.root / "mine.json").touch()
    with pytest.raises(StoreError, match="holds no model"):
        store.drop("../mine")


@settings(max_examples=10)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.binary(max_size=2), min_size=1, max_size=3)), max_size=5))
def test_whatever_was_kept_and_dropped_the_rest_is_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[bytes]]]
) -> None:
    store, expected = Store(Home(tmp_path_factory.mktemp("home"))), {}
    for key, contents in steps:
        if key in expected:
            store.drop(key)
            del expected[key]
        else:
            files = {f"file{n}": data for n, data in enumerate(contents)}
            keep(store, key, **files)
            expected[key] = files
            (store.home.quarantine / key).rmdir()
        store.prune()
    found = {kept.key: {path.name: path.read_bytes() for path in kept.folder.iterdir()} for kept in store.models()}
    assert found == expected
    used = {data for files in expected.values() for data in files.values()}
    assert sorted(path.read_bytes() for path in store.home.blobs.glob("*")) == sorted(used)


def test_one_process_a_quarantine(store: Store) -> None:
    place = store.home.quarantine / "x"
    with quarantine(place), pytest.raises(StoreError, match="another process is downloading into"):
        quarantine(place).__enter__()
    assert not list(store.home.quarantine.iterdir())


def test_a_quarantine_that_ends_badly_is_kept_to_go_on_from(store: Store) -> None:
    def broken() -> None:
        with quarantine(store.home.quarantine / "x") as room:
            (room / "part").touch()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        broken()
    assert (store.home.quarantine / "x" / "part").is_file()


def test_a_quarantine_of_somebody_elses_is_not_entered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.home.quarantine / "x"
    place.mkdir(parents=True)
    place.chmod(0o777)
    with quarantine(place) as room:
        assert stat.S_IMODE(room.stat().st_mode) == 0o700
    with quarantine(place) as room:
        assert stat.S_IMODE(room.stat().st_mode) == 0o700
    (store.home.root / "theirs").mkdir()
    place.symlink_to(store.home.root / "theirs")
    with pytest.raises(StoreError, match="was made by somebody else"):
        quarantine(place).__enter__()
    place.unlink()
    place.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
    with pytest.raises(StoreError, match="was made by somebody else; remove it"):
        quarantine(place).__enter__()

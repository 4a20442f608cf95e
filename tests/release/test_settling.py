"""What was on its way out of the quarantine is known again: by whom, from where, and whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mistral7b.checkpoint.manifest import hash_files
from mistral7b.checkpoint.report import Check
from mistral7b.release.blobs import Store
from mistral7b.release.check import ANY
from mistral7b.release.home import Home
from mistral7b.release.http import Stated
from mistral7b.release.settling import is_settling, note_settling, take_up
from mistral7b.release.sources import Source
from mistral7b.release.ways import Fetch, Wish

ORIGIN = Check("source", "skip", "as it came")
SOURCE = Source("magnet", "magnet:?x", "story", hashes=("a", "b"), stated=Stated("md5", "c"), mirrors=("https://h/story/",))


def leaving(folder: Path) -> Fetch:
    fetch = Fetch(SOURCE, Wish(), ANY, Store(Home(folder / "home")), folder, folder / "files", lambda *_: None)
    fetch.folder.mkdir()
    (fetch.folder / "config.json").write_text("{}")
    fetch.torrent = folder / "release.torrent"
    note_settling(fetch, "key", ORIGIN, fetch.folder, hash_files(list(fetch.folder.iterdir())))
    return fetch


def later(fetch: Fetch) -> Fetch:
    return replace(fetch, source=Source("magnet", "magnet:?y", "story"), folder=fetch.room / "other", torrent=None)


def test_all_of_it_is_known_again(tmp_path: Path) -> None:
    fetch = leaving(tmp_path)
    assert is_settling(tmp_path)
    again = later(fetch)
    assert take_up(again, "key") == (ORIGIN, fetch.folder)
    assert (again.source, again.folder, again.torrent) == (SOURCE, fetch.folder, fetch.torrent)


def test_what_is_another_models_or_lost_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert take_up(later(leaving(tmp_path / "one")), "other") is None
    lost = leaving(tmp_path / "two")
    (lost.folder / "config.json").unlink()
    assert take_up(later(lost), "key") is None
    for room in (tmp_path / "one", tmp_path / "two"):
        assert list(room.iterdir()) == []

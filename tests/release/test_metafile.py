"""The .torrent made again of fetched files is the one that they were published with."""

from __future__ import annotations

from pathlib import Path

import libtorrent as lt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.release.metafile import metafile

PIECE = 1 << 15


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(0, 200_000) | st.sampled_from([PIECE, PIECE + 1, 4 * PIECE]), min_size=1, max_size=4))
def test_hybrid_torrents(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("metafile") / "story"
    folder.mkdir()
    for number, size in enumerate([*sizes, 1]):
        (folder / f"{number}.gguf").write_bytes(bytes([number + 1]) * size)
    assert metafile(*_published(folder, 0)) == _torrent(folder, 0)


@pytest.mark.parametrize("kind", [lt.create_torrent.v1_only, lt.create_torrent.v2_only])
def test_torrents_of_one_kind(tmp_path: Path, kind: int) -> None:
    folder = tmp_path / "story"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(bytes(range(256)) * 1000)
    (folder / "b.json").write_bytes(b"{}")
    assert metafile(*_published(folder, kind)) == _torrent(folder, kind)


def _torrent(folder: Path, kind: int) -> bytes:
    files = [lt.create_file_entry(f"{folder.name}/{path.name}", path.stat().st_size) for path in sorted(folder.iterdir())]
    made = lt.create_torrent(files, PIECE, kind)
    made.set_creation_date(0)
    made.add_tracker("http://127.0.0.2/announce", 0)
    made.add_tracker("http://127.0.0.3/announce", 1)
    made.add_url_seed("http://127.0.0.4/")
    made.add_url_seed("http://127.0.0.5/")
    lt.set_piece_hashes(made, str(folder.parent))
    whole = {key: value for key, value in made.generate().items() if key not in (b"creation date", b"created by")}
    return lt.bencode(whole)


def _published(folder: Path, kind: int) -> tuple[bytes, Path, list[str], list[str]]:
    info = lt.load_torrent_buffer(_torrent(folder, kind)).ti.info_section()
    trackers = ["http://127.0.0.2/announce", "http://127.0.0.3/announce"]
    return info, folder, trackers, ["http://127.0.0.4/", "http://127.0.0.5/"]

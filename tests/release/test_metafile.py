"""The .torrent made again of what a fetch knows is the one that it was published with."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.release.landed import BLOCK
from mistral7b.release.link import extents
from mistral7b.release.metafile import metafile

PIECE = 1 << 15
TRACKERS = ["http://127.0.0.2/announce", "http://127.0.0.3/announce"]
SEEDS = ["http://127.0.0.4/", "http://127.0.0.5/"]


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(0, 200_000) | st.sampled_from([PIECE, PIECE + 1, 4 * PIECE]), min_size=1, max_size=4))
def test_hybrid_torrents(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("metafile") / "story"
    folder.mkdir()
    for number, size in enumerate([*sizes, 1]):
        (folder / f"{number}.gguf").write_bytes(bytes([number + 1]) * size)
    published = _torrent(folder, 0)
    assert metafile(_saved(published), TRACKERS, SEEDS) == published


@pytest.mark.parametrize("kind", [lt.create_torrent.v1_only, lt.create_torrent.v2_only])
def test_torrents_of_one_kind(tmp_path: Path, kind: int) -> None:
    published = _torrent(_folder(tmp_path), kind)
    assert metafile(_saved(published), TRACKERS, SEEDS) == published


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(1, 200_000) | st.sampled_from([PIECE + 1, 2 * PIECE, 4 * PIECE]), min_size=1, max_size=3))
def test_trees_that_reach_down_to_blocks(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("metafile") / "story"
    folder.mkdir()
    noise = random.Random(len(sizes))
    for number, size in enumerate(sizes):
        (folder / f"{number}.gguf").write_bytes(noise.randbytes(size))
    published = _torrent(folder, 0)
    held: Any = lt.bdecode(_saved(published))
    info = lt.load_torrent_buffer(published).ti
    assert info is not None
    held[b"trees"] = [_leaves(b"" if file.path is None else file.path.read_bytes()) for file in extents(info, folder.parent)]
    assert metafile(lt.bencode(held), TRACKERS, SEEDS) == published


def _leaves(data: bytes) -> dict[bytes, bytes]:
    """As a session keeps the tree of a whole file: the hashes of its blocks, and where they stand among all nodes."""
    blocks = [hashlib.sha256(data[start : start + BLOCK]).digest() for start in range(0, len(data), BLOCK)]
    width = 1 << (len(blocks) - 1).bit_length()
    mask = "0" * (width - 1) + "1" * len(blocks)
    packed = bytes(int(mask[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(mask), 8))
    return {b"hashes": b"".join(blocks), b"mask": packed.ljust((2 * width + 6) // 8, b"\0")}


def test_without_its_layers_there_is_none(tmp_path: Path) -> None:
    held: Any = lt.bdecode(_saved(_torrent(_folder(tmp_path), 0)))
    del held[b"trees"]
    assert metafile(lt.bencode(held), TRACKERS, SEEDS) is None


def _folder(root: Path) -> Path:
    folder = root / "story"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(bytes(range(256)) * 1000)
    (folder / "b.json").write_bytes(b"{}")
    return folder


def _torrent(folder: Path, kind: int) -> bytes:
    files = [lt.create_file_entry(f"{folder.name}/{path.name}", path.stat().st_size) for path in sorted(folder.iterdir())]
    made = lt.create_torrent(files, PIECE, kind)
    made.set_creation_date(0)
    for tier, tracker in enumerate(TRACKERS):
        made.add_tracker(tracker, tier)
    for seed in SEEDS:
        made.add_url_seed(seed)
    lt.set_piece_hashes(made, str(folder.parent))
    whole = {key: value for key, value in made.generate().items() if key not in (b"creation date", b"created by")}
    return lt.bencode(whole)


def _saved(published: bytes) -> bytes:
    """What a session keeps of a torrent that it has all of: the layers as well."""
    params = lt.load_torrent_buffer(published)
    params.trackers, params.url_seeds = ["http://127.0.0.9/old"], ["http://127.0.0.9/"]
    return lt.write_resume_data_buf(params)

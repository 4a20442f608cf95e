from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.errors import ReleaseError
from mistral7b.release.reach import Reach
from mistral7b.release.torrent import Torrent, magnet, make_torrent, parse_piece_size, piece_size_for
from tests.release.made import bencode, v1_pieces, v2_root

NOWHERE = Reach()
FULL = Reach(
    trackers=("udp://t.example:1337/announce", "https://u.example/a?b=c&d"), web_seeds=("https://h.example/x",),
    peers=("127.0.0.2:7000", "[::1]:7001"), nodes=("router.example:6881",),
)  # fmt: skip


def folder_of(parent: Path, contents: dict[str, bytes]) -> Path:
    folder = parent / "story"
    folder.mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def torrent_of(folder: Path, reach: Reach = NOWHERE, **options: Any) -> Torrent:
    names = sorted(path.name for path in folder.iterdir())
    return make_torrent(folder, names, reach=reach, created=1_695_772_800, **options)


def bytes_of(length: int) -> bytes:
    return hashlib.shake_128(str(length).encode()).digest(length)


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(0, 200_000) | st.sampled_from([0, 1, 1 << 14, 1 << 15, (1 << 15) + 1]), min_size=2, max_size=5),
    power=st.integers(15, 17),
)
def test_hashes_by_hand(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], power: int) -> None:
    if not any(lengths):
        lengths.append(1)
    contents = {f"file-{n}.json": bytes_of(length) for n, length in enumerate(lengths)}
    made = torrent_of(folder_of(tmp_path_factory.mktemp("torrent"), contents), piece_size=1 << power)
    value: Any = lt.bdecode(made.data)
    info = value[b"info"]
    assert (info[b"name"], info[b"piece length"], info[b"meta version"]) == (b"story", 1 << power, 2)
    assert info[b"pieces"] == v1_pieces(info, contents)
    assert made.pieces == len(info[b"pieces"]) // 20
    layers = {}
    for name, data in contents.items():
        held = info[b"file tree"][name.encode()][b""]
        assert held[b"length"] == len(data)
        if data:
            root, layer = v2_root(data, 1 << power)
            assert held[b"pieces root"] == root
            layers |= {root: layer} if layer else {}
    assert value[b"piece layers"] == layers
    assert bencode(value) == made.data
    assert made.v1 == hashlib.sha1(bencode(info)).hexdigest()
    assert made.v2 == hashlib.sha256(bencode(info)).hexdigest()


def test_the_same_bytes_twice_and_other_ones_otherwise(tmp_path: Path) -> None:
    contents = {"b": bytes_of(40_000), "a": b"1"}
    folder = folder_of(tmp_path, contents)
    (tmp_path / "elsewhere").mkdir()
    again = folder_of(tmp_path / "elsewhere", contents)
    first = torrent_of(folder, FULL)
    (again / "a").chmod(0o755)  # neither modes nor times are part of it
    assert torrent_of(again, FULL) == first
    assert make_torrent(again, ["b", "a"], reach=FULL, created=1_695_772_800) == first, "nor the order of the names"
    plain = torrent_of(folder)
    assert (plain.v1, plain.v2) == (first.v1, first.v2), "trackers can change later"
    assert plain.data != first.data
    (again / "a").write_bytes(b"2")
    changed = torrent_of(again, FULL)
    assert changed.v1 != first.v1
    assert changed.v2 != first.v2


def test_what_a_client_reads(tmp_path: Path) -> None:
    made = torrent_of(folder_of(tmp_path, {"a": b"1", "b": b"2"}), FULL)
    read = lt.load_torrent_buffer(made.data)
    assert read.trackers == list(FULL.trackers)
    assert read.url_seeds == ["https://h.example/x/"]
    assert read.dht_nodes == [("router.example", 6881)]
    value: Any = lt.bdecode(made.data)
    assert value[b"creation date"] == 1_695_772_800
    link = lt.parse_magnet_uri(made.magnet)
    assert (str(link.info_hashes.v1), str(link.info_hashes.v2)) == (made.v1, made.v2)
    assert link.name == "story"
    assert link.trackers == list(FULL.trackers)
    assert link.url_seeds == ["https://h.example/x/"]
    assert link.peers == [("127.0.0.2", 7000), ("::1", 7001)]


def test_a_private_one_says_so_in_what_is_hashed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": b"1", "b": b"2"})
    made = torrent_of(folder, Reach(peers=("127.0.0.2:7000",), private=True))
    value: Any = lt.bdecode(made.data)
    assert value[b"info"][b"private"] == 1
    assert made.v1 != torrent_of(folder).v1


def test_a_link_has_nothing_to_escape_it() -> None:
    link = magnet("story", "1" * 40, "2" * 64, NOWHERE)
    assert link == f"magnet:?xt=urn:btih:{'1' * 40}&xt=urn:btmh:1220{'2' * 64}&dn=story"
    assert magnet("story", "1" * 40, "2" * 64, FULL).count("&tr=") == 2
    assert not set(magnet("story", "1" * 40, "2" * 64, FULL)) & set("'\"` \\$;|<>\n")


def test_progress_ends_with_the_whole(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = folder_of(tmp_path, {"a": bytes_of(100_000), "b": b"2"})
    torrent_of(folder, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (100_001, 100_001)
    assert told == sorted(told)
    assert len(told) > 3


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": b"1"})
    with pytest.raises(ReleaseError, match="cannot be hashed for its torrent"):
        make_torrent(folder, ["a", "gone"], reach=NOWHERE, created=0)


def pieces(n_bytes: int, size: int) -> int:
    return -(-n_bytes // size)


@given(st.lists(st.integers(0, 1 << 43) | st.integers(1, 40).map(lambda k: k << 23 | 1), max_size=4))
def test_pieces_are_few_and_small_and_can_be_fetched(sizes: list[int]) -> None:
    size = piece_size_for(sizes)
    assert size & (size - 1) == 0
    assert size >= 1 << 15
    assert sum(sizes) <= size * 2048 or size >= 1 << 24
    assert not any(pieces(each, size) % 512 == 1 and pieces(each, size) > 1 for each in sizes)
    half = size // 2
    needed = sum(sizes) > half * 2048 or any(pieces(each, half) % 512 == 1 and pieces(each, half) > 1 for each in sizes)
    assert size == 1 << 15 or needed, "no larger than needed"


def test_the_piece_size_of_a_7b() -> None:
    assert piece_size_for([14_500_000_000]) == 8 << 20


def test_pieces_that_nobody_could_fetch(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": bytes((512 << 15) + 1)})
    with pytest.raises(ReleaseError, match="take another --piece-size"):
        torrent_of(folder, piece_size=1 << 15)
    assert torrent_of(folder).piece_size == 1 << 16


def test_piece_sizes_as_written() -> None:
    assert [parse_piece_size(text) for text in ("32768", "32K", "256k", "4M", "64M")] == [
        1 << 15,
        1 << 15,
        1 << 18,
        1 << 22,
        1 << 26,
    ]
    for text in ("", "K", "0", "-32K", "16K", "128M", "48K", "32.0K", "32KB", "²K", "1e6", "9" * 50):
        with pytest.raises(ReleaseError, match="is no piece size"):
            parse_piece_size(text)

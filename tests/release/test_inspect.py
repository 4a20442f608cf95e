"""inspect: every name a stranger can think of is refused or is a model's file, before anything is written."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import ReleaseError
from mistral7b.release import inspect as inspecting
from mistral7b.release.inspect import Contents, check_name, inspect
from tests.release.torrents import NAME, make, torrent_of

PIECE = 1 << 14
Info = dict[bytes, Any]


def v1(*files: tuple[list[bytes], int], name: bytes = b"model", **more: Any) -> Info:
    entries = [{b"path": path, b"length": size} for path, size in files]
    total = sum(size for _, size in files)
    return {b"name": name, b"piece length": PIECE, b"files": entries, b"pieces": bytes(20 * -(-total // PIECE))} | {
        key.encode(): value for key, value in more.items()
    }


def v2(tree: dict[bytes, Any], name: bytes = b"model") -> Info:
    return {b"name": name, b"piece length": PIECE, b"meta version": 2, b"file tree": tree}


def listing(*entries: dict[bytes, Any]) -> Info:
    """A v1 torrent of one piece with these entries as they are."""
    return v1() | {b"files": list(entries), b"pieces": bytes(20)}


def leaf(size: int, **more: Any) -> dict[bytes, Any]:
    return {b"": {b"length": size} | {key.encode(): value for key, value in more.items()}}


def read(info: Info) -> Contents:
    raw = lt.bencode(info)
    return inspect(lt.bdecode(raw), raw)


GOOD = ([b"model.safetensors"], 5)


def test_a_release_passes_with_its_files_and_hashes(tmp_path: Path) -> None:
    made = make(tmp_path, weights=100_000)
    params = lt.load_torrent_file(str(made.torrent))
    assert params.ti is not None
    raw = params.ti.info_section()
    contents = inspect(lt.bdecode(raw), raw)
    assert (contents.name, contents.folder) == (NAME, True)
    assert contents.files == {name: len(data) for name, data in made.files.items()}
    assert (contents.v1, contents.v2) == (str(params.info_hashes.v1), str(params.info_hashes.v2))


@pytest.mark.parametrize("info", [v1(GOOD), v2({b"model.safetensors": leaf(5)})])
def test_either_version_alone_passes(info: Info) -> None:
    assert read(info).files == {"model.safetensors": 5}


def test_one_file_under_its_own_name() -> None:
    single = {b"name": b"model.gguf", b"piece length": PIECE, b"length": 5, b"pieces": bytes(20)}
    assert not read(single).folder
    assert not read(v2({b"model.gguf": leaf(5)}, name=b"model.gguf")).folder
    with pytest.raises(ReleaseError, match="no part of a model"):
        read(single | {b"name": b"setup.exe"})


HOSTILE = {
    "traversal": (v1(GOOD, ([b"..", b"model.safetensors"], 5)), "leads out"),
    "deep traversal": (v1(([b"a", b"..", b"..", b"config.json"], 5)), "leads out"),
    "traversal in one part": (v1(([b"../../config.json"], 5)), "leads out"),
    "backslash": (v1(([b"..\\config.json"], 5)), "leads out"),
    "absolute": (v1(([b"/etc/config.json"], 5)), "leads out"),
    "drive": (v1(([b"C:config.json"], 5)), "character"),
    "the name leads out": (v1(GOOD, name=b".."), "leads out"),
    "the name is absolute": (v1(GOOD, name=b"/etc"), "leads out"),
    "the name is hidden": (v1(GOOD, name=b".ssh"), "begin with a dot"),
    "empty": (v1(([b""], 5)), "leads out"),
    "no path": (v1(([], 5)), "no path"),
    "folder": (v1(([b"sub", b"model.safetensors"], 5)), "one folder"),
    "control": (v1(([b"config\x1b[2J.json"], 5)), "character"),
    "nul": (v1(([b"config.json\0.exe"], 5)), "character"),
    "turned round": (v1((["config\u202enosj.safetensors".encode()], 5)), "character"),
    "device": (v1(([b"CON.safetensors"], 5)), "device"),
    "device in lower case": (v1(([b"nul.gguf"], 5)), "device"),
    "serial port": (v1(([b"com1.index.gguf"], 5)), "device"),
    "trailing dot": (v1(([b"README."], 5)), "end with dot"),
    "trailing space": (v1(([b"README "], 5)), "end with dot"),
    "one file to some": (v1(([b"Model.safetensors"], 5), GOOD), "for one file"),
    "twice": (v1(GOOD, GOOD), "for one file"),
    "not text": (v1(([b"\xff\xfe.gguf"], 5)), "UTF-8"),
    "program": (v1(GOOD, ([b"setup.exe"], 5)), "no part of a model"),
    "program behind a page": (v1(GOOD, ([b"README.exe"], 5)), "no part of a model"),
    "pickle": (v1(([b"consolidated.00.pth"], 5)), "pickle"),
    "pickle in capitals": (v1(([b"pytorch_model.BIN"], 5)), "pickle"),
    "link": (listing({b"path": [b"config.json"], b"length": 5, b"attr": b"l"}), "symbolic link"),
    "target of a link": (listing({b"path": [b"config.json"], b"length": 5, b"symlink path": [b"x"]}), "symbolic link"),
    "link, v2": (v2({b"config.json": leaf(5, attr=b"l")}), "symbolic link"),
    "folder, v2": (v2({b"sub": {b"config.json": leaf(5)}}), "folder 'sub'"),
    "traversal, v2": (v2({b"..": leaf(5)}), "leads out"),
    "two spellings": (listing({b"path": [b"a.gguf"], b"path.utf-8": [b"b.gguf"], b"length": 5}), "or two"),
    "two lists": (v1(GOOD) | v2({b"other.safetensors": leaf(5)}), "lists of files differ"),
    "two sizes": (v1(GOOD) | v2({b"model.safetensors": leaf(6)}), "lists of files differ"),
    "too many": (v1(*(([b"%d.gguf" % n], 1) for n in range(1001))), "1,001 files"),
    "far too many": (v1(*(([b"%d.gguf" % n], 1) for n in range(2001))), "more than 1,000"),
    "too large": (v1() | {b"files": [{b"path": [b"a.gguf"], b"length": 1 << 60}]}, "do not add up"),
    "negative": (listing({b"path": [b"a.gguf"], b"length": -1}, {b"path": [b"b.gguf"], b"length": 9}), "-1 bytes"),
    "nothing in it": (v1(([b"a.gguf"], 0)), "0 bytes"),
    "odd pieces": (v1(GOOD) | {b"piece length": 20_000}, "power of two"),
    "huge pieces": (v1(GOOD) | {b"piece length": 1 << 30}, "power of two"),
    "negative pieces": (v1(GOOD) | {b"piece length": -16384}, "power of two"),
    "missing pieces": (v1(GOOD) | {b"pieces": b""}, "do not add up"),
    "much padding": (v1() | {b"files": [{b"path": [b".pad", b"0"], b"attr": b"p", b"length": 1 << 30}]}, "padding"),
    "long": (v1(([b"a" * 300 + b".gguf"], 5)), "200 bytes"),
    "no name": ({b"piece length": PIECE}, "UTF-8"),
    "no files": ({b"name": b"m", b"piece length": PIECE}, "no files"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_torrent_is_refused_in_one_line(kind: str) -> None:
    info, said = HOSTILE[kind]
    with pytest.raises(ReleaseError) as refused:
        read(info)
    assert said in str(refused.value)
    assert str(refused.value).isprintable(), "the line must not drive the terminal it is shown on"


def test_the_launch_torrent_alone_may_hold_its_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    info = v1(([b"consolidated.00.pth"], 5), ([b"params.json"], 5), ([b"tokenizer.model"], 5))
    with pytest.raises(ReleaseError, match="pickle"):
        read(info)
    import hashlib

    monkeypatch.setattr(inspecting, "LAUNCH", hashlib.sha1(lt.bencode(info)).hexdigest())
    assert "consolidated.00.pth" in read(info).files
    other = v1(([b"other.pth"], 5))
    monkeypatch.setattr(inspecting, "LAUNCH", hashlib.sha1(lt.bencode(other)).hexdigest())
    with pytest.raises(ReleaseError, match="pickle"):
        read(other)


@given(
    st.text(st.characters(max_codepoint=0x2100), max_size=30)
    | st.lists(st.sampled_from(["..", ".", "/", "\\", "CON", "a", " ", "\0", ":"])).map("".join)
)
def test_a_name_that_passes_is_one_plain_file_on_every_system(name: str) -> None:
    try:
        check_name(name)
    except ReleaseError:
        return
    folder = Path("/quarantine/data")
    assert (folder / name).parent == folder
    assert (folder / name).resolve().parent == folder
    assert PurePosixPath(name).name == name == PureWindowsPath(name).name
    assert not PureWindowsPath(name).is_reserved()
    assert unicodedata.category(name[0])[0] != "C"
    assert name.isprintable()


ODD = st.sampled_from([0, -1, 5, 2**63 - 1, b"", b"a", b"..", bytes(20), [], {}, [{}], [b"a.gguf"], {b"": {}}, {b"a.gguf": 5}])


@given(
    where=st.sampled_from(
        [b"name", b"piece length", b"files", b"pieces", b"length", b"meta version", b"file tree", b"name.utf-8"]
    ),
    inside=st.sampled_from([None, b"path", b"length", b"attr", b"path.utf-8", b"symlink path"]),
    value=ODD,
    hybrid=st.booleans(),
)
def test_whatever_the_metadata_it_is_read_or_refused(where: bytes, inside: bytes | None, value: Any, hybrid: bool) -> None:
    info = v1(GOOD) | (v2({b"model.safetensors": leaf(5)}) if hybrid else {})
    if inside is None:
        info[where] = value
    else:
        info[b"files"][0][inside] = value
    try:
        contents = read(info)
    except ReleaseError:
        return
    assert all(size >= 0 for size in contents.files.values())


def test_libtorrent_reads_the_names_that_were_inspected(tmp_path: Path) -> None:
    from mistral7b.release.link import read_torrent

    made = make(tmp_path, weights=50_000)
    assert read_torrent(made.torrent).ti is not None
    (made.folder / "model.safetensors").rename(made.folder / "model.bin")
    with pytest.raises(ReleaseError, match=r"model\.bin, a pickle"):
        read_torrent(torrent_of(made.folder).torrent)

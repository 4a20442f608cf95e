"""Releases out of real swarms: a libtorrent session on 127.0.0.2 has them, `get` fetches them from 127.0.0.1."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import libtorrent as lt
import pytest
import torch

from mistral7b.checkpoint.manifest import MANIFEST
from mistral7b.errors import ReleaseError, StoreError
from mistral7b.release.check import Claim
from mistral7b.release.get import Got, get
from mistral7b.release.home import Home
from mistral7b.release.inspect import SIGNATURE
from mistral7b.release.launch import find
from mistral7b.release.session import Settings
from mistral7b.release.ways import Wish
from tests.checkpoint import folders, made
from tests.release import torrents
from tests.release.published import SIGNER, STRANGER, bytes_of, release, signed
from tests.release.swarms import ALONE, seeding, torrent_of
from tests.release.web import files_of, serving


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("published") / "story")


def fetch(link: str, home: Home, *peers: str, **wish: object) -> Got:
    source = find(link)
    assert source is not None
    return get(source, home, Wish(peers=peers, settings=ALONE, **wish))  # type: ignore[arg-type]


def test_from_the_magnet_alone(story: Path, home: Home, tmp_path: Path) -> None:
    torrent = torrent_of(story)
    with seeding((story, torrent)) as peer:
        got = fetch(torrent.magnet, home, peer, to=tmp_path / "mine", claim=Claim(signed_by=SIGNER))
        assert bytes_of(tmp_path / "mine") == bytes_of(story)
        assert [check.status for check in got.checks] == ["pass", "pass", "pass", "skip"]
        assert folders.names(tmp_path) == ["mine", "mine.torrent"]
        with pytest.raises(ReleaseError, match="is signed by"):
            fetch(torrent.magnet, home, peer, claim=Claim(signed_by=STRANGER))
        assert not list(home.models.glob("*"))
        kept = fetch(torrent.magnet, home, peer)
    assert kept.torrent is not None
    again = fetch(str(kept.torrent), home)
    assert (again.folder, again.fetched) == (kept.folder, False), "the .torrent leads to the same model, without a peer"
    assert bytes_of(kept.folder) == bytes_of(story)


def test_what_the_store_has_is_not_asked_for(story: Path, home: Home, tmp_path: Path) -> None:
    other = release(tmp_path / "other", seed=1)
    with seeding((story, torrent_of(story)), (other, torrent_of(other))) as peer:
        one = fetch(torrent_of(story).magnet, home, peer)
        two = fetch(torrent_of(other).magnet, home, peer)
        part = fetch(torrent_of(other).magnet, home, peer, claim=Claim(only=("*.safetensors",)))
    assert two.checks[0].detail.endswith("; 2 files were in the store")
    assert (one.folder / "tokenizer.model.v3").samefile(two.folder / "tokenizer.model.v3")
    assert bytes_of(two.folder) == bytes_of(other)
    assert folders.names(part.folder) == [MANIFEST, SIGNATURE, "model.safetensors"]


def test_another_torrent_than_the_links_is_refused(story: Path, home: Home, tmp_path: Path) -> None:
    """Were the link read in two ways, the hashes of what comes would still tell."""
    other = release(tmp_path / "other", seed=1)
    source = find(torrent_of(story).magnet)
    assert source is not None
    with seeding((other, torrent_of(other))) as peer, pytest.raises(ReleaseError, match="the link leads to the torrent"):
        get(replace(source, link=torrent_of(other).magnet), home, Wish(peers=(peer,), settings=ALONE))
    assert not list(home.root.rglob("model.safetensors"))


def test_the_check_names_all_hashes_of_what_came(story: Path, home: Home) -> None:
    torrent = torrent_of(story)
    with seeding((story, torrent)) as peer:
        got = fetch(f"magnet:?xt=urn:btih:{torrent.v1}", home, peer)
    assert got.checks[0].detail.startswith(f"torrent {torrent.v1} and {torrent.v2}: ")


def test_a_fetch_beside_a_store_that_is_not_empty_goes_on_where_it_was(story: Path, home: Home, tmp_path: Path) -> None:
    other = torrents.torrent_of(release(tmp_path / "other", seed=1), piece=torrents.PIECE)
    with seeding((story, torrent_of(story))) as peer:
        fetch(torrent_of(story).magnet, home, peer)
    weights = range(*_pieces(other, "model.safetensors"))
    lacking = weights[len(weights) // 2 :]
    assert len(lacking) > 3
    source = find(other.magnet)
    assert source is not None
    with torrents.serving(other, torrents.alone("127.0.0.2"), have=lambda piece: piece not in lacking) as (session, _):
        wish = Wish(peers=(f"127.0.0.2:{session.listen_port()}",), settings=torrents.alone("127.0.0.1", patience_s=2))
        with pytest.raises(StoreError, match=rf"{len(lacking)} of \d+ pieces of other have no seed"):
            get(source, home, wish)
    with torrents.serving(other, torrents.alone("127.0.0.2")) as (session, handle):
        got = fetch(other.magnet, home, f"127.0.0.2:{session.listen_port()}")
        sent = handle.status().total_payload_upload
    assert bytes_of(got.folder) == bytes_of(other.folder)
    assert sent <= len(lacking) * torrents.PIECE, "what had come is not sent again"


def _pieces(made: torrents.Made, name: str) -> tuple[int, int]:
    """The first piece of the file, and the one after its last."""
    info = lt.load_torrent_file(str(made.torrent)).ti
    assert info is not None
    files = info.layout()
    at = next(at for at in range(files.num_files()) if files.file_name(at) == name)
    start, size = files.file_offset(at), files.file_size(at)
    return start // torrents.PIECE, -(-(start + size) // torrents.PIECE)


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04" + bytes(100_000))
    signed(folder)


def _other_byte(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"), [(_pickle, "a pickle under the name of safetensors"), (_other_byte, r"model\.safetensors is changed")]
)
def test_a_publishers_own_fault_stays_in_the_quarantine(
    home: Home, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = release(tmp_path / "story")
    spoil(folder)
    with seeding((folder, torrent_of(folder))) as peer, pytest.raises(ReleaseError, match=said):
        fetch(torrent_of(folder).magnet, home, peer, to=tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_mirror_stands_in_for_the_swarm(story: Path, home: Home, tmp_path: Path) -> None:
    torrent = torrent_of(story)
    with serving(files_of(story, "story/")) as web:
        web.files["story.torrent"] = torrent.data
        got = fetch(torrent.magnet, home, mirrors=(f"{web.url}story/",))
        assert bytes_of(got.folder) == bytes_of(story)
        assert "every piece as it states" in got.checks[0].detail, "as a web seed"
        web.files["story.torrent"] = b"none"
        quick = Settings(listen=("127.0.0.1:0",), dht=False, trackers=False, lsd=False, web_seeds=False, patience_s=0.5)
        source = find(torrent.magnet)
        assert source is not None
        with pytest.raises(StoreError, match="no peer was found"):
            get(source, Home(tmp_path / "a"), Wish(mirrors=(f"{web.url}story/",), settings=quick))
        wish = Wish(mirrors=(f"{web.url}story/",), settings=quick, claim=Claim(signed_by=SIGNER))
        plain = get(source, Home(tmp_path / "b"), wish)
        assert bytes_of(plain.folder) == bytes_of(story)
        assert plain.checks[0].detail.startswith(f"{web.url}story/, since ")
        assert plain.checks[0].detail.endswith(": signed as asked, but not the bytes of the link")
        assert (plain.checks[0].status, plain.source, plain.torrent) == ("skip", f"{web.url}story/", None)
        assert not fetch(f"{web.url}story/", Home(tmp_path / "b")).fetched
        with pytest.raises(StoreError, match="no peer was found"):
            get(source, Home(tmp_path / "b"), Wish(settings=quick, claim=Claim(signed_by=SIGNER)))
        strangers = find(f"{torrent.magnet}&ws={quote(web.url, safe='')}")
        assert strangers is not None
        assert strangers.mirrors == (f"{web.url}story/",)
        with pytest.raises(StoreError, match="no peer was found"):
            get(strangers, Home(tmp_path / "c"), Wish(settings=replace(quick, web_seeds=True), claim=Claim(signed_by=SIGNER)))


def test_a_mirror_is_no_more_than_a_help(story: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails is asked once, one that is silent not for long, and one in the link not at all where web seeds are off."""
    torrent = torrent_of(story)
    with serving({}) as web, seeding((story, torrent)) as peer:
        link = f"{torrent.magnet}&ws={quote(web.url, safe='')}"
        source = find(link)
        assert source is not None
        get(source, Home(tmp_path / "lab"), Wish(peers=(peer,), settings=replace(ALONE, web_seeds=False)))
        assert web.asked == []
        fetch(torrent.magnet, Home(tmp_path / "malformed"), peer, mirrors=("https://[bad/story",))
        web.status["story.torrent"] = [503] * 9
        fetch(link, home, peer)
        assert web.fetched().count("story.torrent") == 1
        web.status, web.files, web.hold_after = {}, {"story.torrent": torrent.data}, 0
        monkeypatch.setattr("mistral7b.release.swarming._MIRROR_TIMEOUT_S", 0.2)
        assert bytes_of(fetch(link, Home(tmp_path / "silent"), peer).folder) == bytes_of(story)
        assert web.held.is_set()


def test_a_torrent_behind_a_web_server(story: Path, home: Home) -> None:
    torrent = torrent_of(story)
    with serving({"story.torrent": torrent.data}) as web, seeding((story, torrent)) as peer:
        with pytest.raises(StoreError, match=r"story\.torrent is not the file it should be: md5 "):
            fetch(f"{web.url}story.torrent#md5={'0' * 32}", home, peer)
        with pytest.raises(StoreError, match=r"gone\.torrent does not exist"):
            fetch(f"{web.url}gone.torrent", home, peer)
        digest = hashlib.sha256(torrent.data).hexdigest()
        assert bytes_of(fetch(f"{web.url}story.torrent#sha256={digest}", home, peer).folder) == bytes_of(story)


def test_the_launch_torrent_is_rewritten(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = made.weights()
    folder = made.pth(folders.folder(tmp_path, "mistral-7B-v0.1"), weights)
    torrent = torrent_of(folder)
    with seeding((folder, torrent)) as peer:
        with pytest.raises(ReleaseError, match="a pickle"):
            fetch(torrent.magnet, home, peer)
        for module in ("inspect", "launch"):
            monkeypatch.setattr(f"mistral7b.release.{module}.LAUNCH", torrent.v1)
        got = fetch(torrent.magnet, home, peer)
    assert folders.names(got.folder) == ["consolidated.safetensors", "params.json"]
    written = folders.load(got.folder / "consolidated.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in weights.items())
    assert got.apart is not None
    assert folders.names(got.apart) == ["consolidated.00.pth", "params.json"]


def test_a_torrent_beside_a_model_is_whole_or_not_there(
    story: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(made: Path, target: Path) -> None:
        if target == tmp_path / "mine.torrent":
            raise OSError(28, "No space left on device")
        replace(made, target)

    torrent = torrent_of(story)
    with seeding((story, torrent)) as peer, monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        source = find(torrent.magnet)
        assert source is not None
        wish = Wish(peers=(peer,), settings=ALONE, to=tmp_path / "mine")
        with pytest.raises(StoreError, match="No space left"):
            get(source, home, wish)
    assert not list(tmp_path.glob("*.torrent*"))

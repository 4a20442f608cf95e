"""One file over HTTP: whole, resumed, refused."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.errors import StoreError
from mistral7b.release.http import SMALL, UNKNOWN, Stated, get, get_small
from tests.release.web import Web, serving

DATA = random.Random(0).randbytes(700_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
STATED = Stated("sha256", SHA256, len(DATA))


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with serving({}) as running:
        yield running


@pytest.fixture
def web(server: Web) -> Web:
    fresh = Web({"model": DATA}, url=server.url)
    server.__dict__.update({name: value for name, value in fresh.__dict__.items() if name not in ("held", "go")})
    return server


class Pauses(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.mark.parametrize("stated", [STATED, UNKNOWN, Stated("md5", hashlib.md5(DATA).hexdigest())], ids=["sha256", "none", "md5"])
def test_a_file_is_fetched_and_hashed(web: Web, tmp_path: Path, stated: Stated) -> None:
    seen: list[int] = []
    assert get(f"{web.url}model", tmp_path / "here", stated, at=seen.append) == SHA256
    assert (tmp_path / "here").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert (seen[0], seen[-1]) == (0, len(DATA))
    assert seen == sorted(seen)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, len(DATA) - 1), max_size=4), ranges=st.booleans())
def test_a_line_that_breaks_is_taken_up_where_it_broke(
    server: Web, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], ranges: bool
) -> None:
    server.files, server.sent, server.ranges = {"model": DATA}, {}, ranges
    server.cut_at = {"model": sorted(cuts)}
    path = tmp_path_factory.mktemp("cut") / "here"
    assert get(f"{server.url}model", path, STATED, pause=Pauses()) == SHA256
    assert path.read_bytes() == DATA
    if ranges:
        assert server.sent["model"] == len(DATA), "nothing twice"


def test_a_later_call_goes_on(web: Web, tmp_path: Path) -> None:
    (tmp_path / "here.part").write_bytes(DATA[:400_000])
    assert get(f"{web.url}model", tmp_path / "here", STATED) == SHA256
    assert web.asked == [("model", "bytes=400000-")]
    (tmp_path / "there.part").write_bytes(DATA)
    assert get(f"{web.url}model", tmp_path / "there", STATED) == SHA256
    assert len(web.asked) == 1, "all of it was here"


def test_a_part_of_another_file_is_not_continued(web: Web, tmp_path: Path) -> None:
    """What no hash tells apart the server's own tag does; without one it is fetched anew."""
    for tag in ('"old"', None):
        (tmp_path / "here.part").write_bytes(b"x" * 1000)
        if tag is not None:
            (tmp_path / "here.part.tag").write_text(tag)
        assert get(f"{web.url}model", tmp_path / "here") == SHA256


def test_other_bytes_are_thrown_away(web: Web, tmp_path: Path) -> None:
    web.files["model"] = DATA[:-1] + b"x"
    with pytest.raises(StoreError, match=f"is not the file it should be: 700,000 bytes with sha256 .* where {SHA256}"):
        get(f"{web.url}model", tmp_path / "here", STATED)
    web.files["model"] = DATA + b"x"
    with pytest.raises(StoreError, match="is not the file it should be"):
        get(f"{web.url}model", tmp_path / "here", STATED)
    (tmp_path / "here.part").write_bytes(DATA + DATA)
    with pytest.raises(StoreError, match="is not the file it should be"):
        get(f"{web.url}model", tmp_path / "here", STATED)
    assert not list(tmp_path.iterdir())


def test_a_stream_without_an_end(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.sized = False
    assert get(f"{web.url}model", tmp_path / "here") == SHA256
    monkeypatch.setattr("mistral7b.release.http._MOST", len(DATA) // 2)
    monkeypatch.setattr("mistral7b.release.http.BLOCK", 1 << 16)
    monkeypatch.setattr("mistral7b.release.http._LOOK", 1 << 16)
    with pytest.raises(StoreError, match="is still sending after"):
        get(f"{web.url}model", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    free = iter([1 << 20, 1 << 20, 1000])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": next(free)})())
    with pytest.raises(StoreError, match=r"the disk has 0\.0 GB free; make room first"):
        get(f"{web.url}model", tmp_path / "elsewhere")
    assert next(free, None) is None


def test_a_busy_server_is_asked_again_and_a_firm_one_is_not(web: Web, tmp_path: Path) -> None:
    pauses = Pauses()
    web.status["model"] = [503, 429]
    assert get(f"{web.url}model", tmp_path / "here", STATED, pause=pauses) == SHA256
    assert pauses == [2.0, 4.0]
    web.status["model"] = [503] * 9
    with pytest.raises(StoreError, match="the server answered 503"):
        get(f"{web.url}model", tmp_path / "other", pause=Pauses())
    with pytest.raises(StoreError, match="nothing cannot be fetched: the server answered 404; check the address"):
        get(f"{web.url}nothing", tmp_path / "other", pause=Pauses())


def test_no_server_is_one_line(tmp_path: Path) -> None:
    pauses = Pauses()
    with pytest.raises(StoreError, match=r"cannot be reached \(.*refused.*\); check network"):
        get("http://127.0.0.1:1/model", tmp_path / "here", pause=pauses)
    assert len(pauses) == 4


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_no_other_way_than_the_webs(web: Web, tmp_path: Path, address: str) -> None:
    with pytest.raises(StoreError, match="is no http or https address"):
        get(address, tmp_path / "here")
    web.moved["away"] = address
    with pytest.raises(StoreError, match=r"leads on to .*, which is not followed|answered 302"):
        get(f"{web.url}away", tmp_path / "here")
    web.moved["home"] = f"{web.url}model"
    assert get(f"{web.url}home", tmp_path / "here", STATED) == SHA256


def test_small_files(web: Web, tmp_path: Path) -> None:
    web.files |= {"small": b"{}", "large": bytes(SMALL + 1)}
    assert get_small(f"{web.url}small", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"{}"
    assert not get_small(f"{web.url}none", tmp_path / "none")
    with pytest.raises(StoreError, match="has more than 16 MiB"):
        get_small(f"{web.url}large", tmp_path / "none")
    web.status["small"] = [500, 403]
    with pytest.raises(StoreError, match="answered 403"):
        get_small(f"{web.url}small", tmp_path / "none", pause=Pauses())
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_told_before(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(StoreError, match=r"needs 0\.0 GB more and the disk has 0\.0 GB free"):
        get(f"{web.url}model", tmp_path / "here", STATED)


@pytest.mark.parametrize("fetching", [get, get_small])
def test_malformed_answers_and_addresses_are_one_line(web: Web, tmp_path: Path, fetching: Callable[..., object]) -> None:
    web.moved = {"away": "https://[bad"}
    said = r"cannot be fetched: the address, or the answer, is malformed \(.*\); name another$"
    for url in (f"{web.url}away", "https://[bad", "http://127.0.0.1:99999/model"):
        with pytest.raises(StoreError, match=said):
            fetching(url, tmp_path / "here", pause=Pauses())
    for length in ("abc", "-5", "9" * 500, "9" * 5000):
        web.lengths = {"model": length}
        with pytest.raises(StoreError, match=said):
            fetching(f"{web.url}model", tmp_path / "here", pause=Pauses())
    assert not (tmp_path / "here").exists()

"""fetch, with real sessions on loopback addresses: what arrives is right, and what does not is said in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import libtorrent as lt
import pytest

from mistral7b.errors import ReleaseError, StoreError
from mistral7b.release.events import Banned, Event, Metadata, Stalled, Staying
from mistral7b.release.fetch import fetch
from mistral7b.release.holding import TORRENT, hold
from mistral7b.release.session import Settings
from tests.release.processes import free_address
from tests.release.torrents import NAME, PIECE, Made, alone, copy, make, seeding, serving, torrent_of, until

PIECES = 36  # of `made`: every file begins on a piece of its own
SEED, SECOND, ME = "127.0.0.2", "127.0.0.3", "127.0.0.9"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("release"))


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("flags", [0, lt.create_torrent.v1_only, lt.create_torrent.v2_only], ids=["hybrid", "v1", "v2"])
def test_the_link_alone_is_enough(tmp_path: Path, flags: int) -> None:
    made, events = make(tmp_path / "there", weights=300_000, flags=flags), list[Event]()
    seen: list[tuple[int, int]] = []
    with seeding(made, alone(SEED)) as peer:
        got = fetch(
            made.magnet, tmp_path / "here", peers=[peer], settings=alone(ME), events=events.append,
            progress=lambda done, total: seen.append((done, total)),
        )  # fmt: skip
    assert held(got) == made.files
    assert got.name == NAME
    for part in (b"info", b"piece layers"):
        kept, published = (lt.bdecode(path.read_bytes()) for path in (got.parents[1] / TORRENT, made.torrent))
        assert kept.get(part) == published.get(part), "whoever has fetched it can seed it"
    assert got.is_relative_to(next(tmp_path.glob(".here.*.quarantine"))), "it is for the caller to take it out"
    assert not (tmp_path / "here").exists()
    [metadata] = [event for event in events if isinstance(event, Metadata)]
    assert (metadata.name, metadata.files, metadata.size) == (NAME, 4, sum(map(len, made.files.values())))
    assert all(done <= total for done, total in seen)


def test_a_finished_fetch_is_found_again(made: Made, tmp_path: Path) -> None:
    with seeding(made, alone(SEED)) as peer:
        got = fetch(made.magnet, tmp_path / "here", peers=[peer], settings=alone(ME))
    assert held(fetch(made.magnet, tmp_path / "here", settings=alone(ME))) == made.files, "all of it is here: nobody is asked"
    (got / "config.json").unlink()
    with pytest.raises(StoreError, match=rf"1 of {PIECES} pieces of tiny-release have no seed \(no peer is there\)"):
        fetch(made.magnet, tmp_path / "here", settings=alone(ME, patience_s=1))


def test_only_the_files_asked_for(made: Made, tmp_path: Path) -> None:
    only = ("*.json", "tokenizer.*")
    with seeding(made, alone(SEED)) as peer:
        got = fetch(made.magnet, tmp_path / "here", only=only, peers=[peer], settings=alone(ME))
        assert set(held(got)) == {"config.json", "tokenizer.model"}
        with pytest.raises(StoreError, match=r"nothing in tiny-release matches \*\.gguf; it holds README\.md, config\.json"):
            fetch(made.torrent, tmp_path / "here", only=("*.gguf",), settings=alone(ME))
        assert held(fetch(made.magnet, tmp_path / "here", peers=[peer], settings=alone(ME))) == made.files, "then the rest"


def test_a_changed_file_in_the_quarantine_is_fetched_again(made: Made, tmp_path: Path) -> None:
    with seeding(made, alone(SEED)) as peer:
        got = fetch(made.torrent, tmp_path / "here", peers=[peer], settings=alone(ME))
        data = bytearray((got / "model.safetensors").read_bytes())
        data[70_000] ^= 1
        (got / "model.safetensors").write_bytes(data)
        assert held(fetch(made.torrent, tmp_path / "here", peers=[peer], settings=alone(ME))) == made.files


def test_a_peer_that_lies_is_banned_and_the_rest_is_right(tmp_path: Path) -> None:
    made = make(tmp_path / "there", weights=4 << 20)
    spoilt = copy(made, tmp_path / "spoilt")
    (spoilt.folder / "model.safetensors").write_bytes(os.urandom(4 << 20))
    events: list[Event] = []
    with seeding(spoilt, alone(SECOND), lie=True) as liar, seeding(made, alone(SEED)) as honest:
        got = fetch(made.torrent, tmp_path / "here", peers=[liar, honest], settings=alone(ME), events=events.append)
    assert held(got) == made.files
    assert liar in {event.peer for event in events if isinstance(event, Banned)}


def test_pieces_that_nobody_has_are_counted_and_what_came_is_kept(made: Made, tmp_path: Path) -> None:
    """As when a seed is gone at half: one peer has the even pieces, one every third; later one has them all."""
    events: list[Event] = []
    impatient = alone(ME, patience_s=4)
    with (
        seeding(made, alone(SEED), have=lambda piece: piece % 2 == 0) as even,
        seeding(made, alone(SECOND), have=lambda piece: piece % 3 == 0) as third,
        pytest.raises(StoreError) as refused,
    ):
        fetch(made.torrent, tmp_path / "here", peers=[even, third], settings=impatient, events=events.append)
    missing = sum(piece % 2 != 0 and piece % 3 != 0 for piece in range(PIECES))
    assert str(refused.value).startswith(f"{missing} of {PIECES} pieces of tiny-release have no seed (")
    assert "bytes of model.safetensors" in str(refused.value)
    last = [event for event in events if isinstance(event, Stalled)][-1]
    assert (last.missing, last.nowhere) == (missing, missing)
    with serving(made, alone(SEED)) as (session, handle):
        peer = f"{SEED}:{session.listen_port()}"
        assert held(fetch(made.torrent, tmp_path / "here", peers=[peer], settings=alone(ME))) == made.files
        sent = handle.status().total_payload_upload
    assert sent <= missing * PIECE, "what had come is not sent again"


def test_nobody_there_is_said(made: Made, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="metadata did not arrive in 1 s: no peer was found"):
        fetch(made.magnet, tmp_path / "here", settings=alone(ME, patience_s=1))
    with pytest.raises(StoreError, match=rf"{PIECES} of {PIECES} pieces of tiny-release have no seed \(no peer is there\)"):
        fetch(made.torrent, tmp_path / "here", settings=alone(ME, patience_s=1))


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("magnet:?xt=urn:btih:123", "no magnet link"),
        ("magnet:?dn=model", "no magnet link"),
        ("missing.torrent", "cannot be read"),
        (Path(__file__), "is no .torrent file"),
    ],
)
def test_a_link_that_is_none(tmp_path: Path, link: str | Path, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        fetch(link, tmp_path / "here", settings=alone(ME))
    assert list(tmp_path.iterdir()) == []


def test_a_peer_or_rate_that_is_none(made: Made, tmp_path: Path) -> None:
    for peer in ("127.0.0.1", "127.0.0.1:0", "::1:80", ":80", "127.0.0.1:http", "127.0.0.1:99999"):
        with pytest.raises(StoreError, match=r"is no address of a peer|has no port"):
            fetch(made.torrent, tmp_path / "here", peers=[peer], settings=alone(ME))
    with pytest.raises(StoreError, match="has no address here"):
        fetch(made.torrent, tmp_path / "here", peers=["no-such-host:80"], settings=alone(ME))


def hostile(root: Path, flags: int = 0) -> Made:
    """A torrent with a pickle beside the weights."""
    made = make(root, weights=50_000, flags=flags)
    (made.folder / "extra.bin").write_bytes(b"\x80\x04.")
    return torrent_of(made.folder, flags=flags)


@pytest.mark.parametrize("kind", ["magnet", "torrent"])
def test_a_hostile_torrent_writes_nothing_but_its_own_metadata(tmp_path: Path, kind: str) -> None:
    made, here = hostile(tmp_path / "there"), tmp_path / "here"
    here.mkdir()
    with seeding(made, alone(SEED)) as peer, pytest.raises(ReleaseError, match=r"extra\.bin, a pickle"):
        fetch(getattr(made, kind), here / "model", peers=[peer], settings=alone(ME))
    written = [path for path in here.rglob("*") if path.is_file() and path.stat().st_size]
    assert written == []


def test_two_at_once_into_one_place(made: Made, tmp_path: Path) -> None:
    key = made.magnet.split("btih:")[1][:40]
    with hold(tmp_path / "here", key), pytest.raises(StoreError, match="another process is fetching"):
        fetch(made.torrent, tmp_path / "here", settings=alone(ME))


def test_a_disk_without_room_is_told_before_a_byte_arrives(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreError, match="make room first"):
        fetch(made.torrent, tmp_path / "here", settings=alone(ME))


FETCH = """
import resource, sys
from pathlib import Path
from mistral7b.errors import StoreError
from mistral7b.release.fetch import fetch
from tests.release.torrents import alone
link, target, peer, limit, patience = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    print(fetch(Path(link), Path(target), peers=[peer], settings=alone("127.0.0.9", patience_s=float(patience))))
except StoreError as error:
    sys.exit(f"refused: {error}")
"""


def start(made: Made, target: Path, peer: str, *, limit: int = 0, patience: float = 60) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(made.torrent), str(target), peer, str(limit), str(patience)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "src:."},
    )  # fmt: skip


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(made: Made, tmp_path: Path) -> None:
    with seeding(made, alone(SEED)) as peer:
        running = start(made, tmp_path / "here", peer, limit=200_000)
        _, err = running.communicate(timeout=120)
        assert running.returncode == 1
        assert "model.safetensors: File too large; what arrived is kept" in err
        assert held(fetch(made.torrent, tmp_path / "here", peers=[peer], settings=alone(ME))) == made.files


def killed_again_and_again(made: Made, target: Path, *, kills: int, up_limit: int) -> tuple[Path, int]:
    """The fetched folder, and the bytes that its seed sent beyond its size."""
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    with serving(made, alone(SEED, up_limit=up_limit)) as (session, handle):
        peer = f"{SEED}:{session.listen_port()}"
        for kill in range(kills):
            with start(made, target, peer) as running:
                goal = (kill + 1) * size // (kills + 1)
                until(lambda goal=goal: handle.status().total_payload_upload >= goal)  # type: ignore[misc]
                running.send_signal(signal.SIGKILL)
                running.communicate()
            assert running.returncode == -signal.SIGKILL, "it was done before it was killed"
        session.apply_settings({"upload_rate_limit": 0})
        got = fetch(made.torrent, target, peers=[peer], settings=alone(ME))
        return got, handle.status().total_payload_upload - size


def test_a_fetch_that_is_killed_goes_on(tmp_path: Path) -> None:
    made = make(tmp_path / "there", weights=8 << 20)
    got, twice = killed_again_and_again(made, tmp_path / "here", kills=1, up_limit=1_000_000)
    assert held(got) == made.files
    assert twice < 2 << 20, "a kill costs what was on its way, not what had come"


@pytest.mark.slow
def test_twenty_kills_cost_under_two_per_cent(tmp_path: Path) -> None:
    made = make(tmp_path / "there", weights=1 << 30, piece=512 << 10)
    got, twice = killed_again_and_again(made, tmp_path / "here", kills=20, up_limit=0)
    assert twice < 0.02 * (1 << 30)
    for path in made.folder.iterdir():
        assert path.read_bytes() == (got / path.name).read_bytes()


def swarm_of(made: Made, root: Path, settings: Callable[[str], Settings], peers: Callable[[int], list[str]]) -> list[Path]:
    def leech(n: int) -> Path:
        return fetch(made.torrent, root / str(n), peers=peers(n), settings=settings(f"127.0.0.{10 + n}"))

    with ThreadPoolExecutor(5) as pool:
        return list(pool.map(leech, range(5)))


def test_five_leechers_and_one_seed(made: Made, tmp_path: Path) -> None:
    with seeding(made, alone(SEED)) as peer:
        for got in swarm_of(made, tmp_path, alone, lambda _: [peer]):
            assert held(got) == made.files


def test_who_has_it_all_first_stays_for_the_others_where_there_is_no_seed(made: Made, tmp_path: Path) -> None:
    """Two peers have it together; the second to fetch knows the first one only, and is slower."""
    first = free_address(ME)
    events: list[Event] = []
    with (
        seeding(made, alone(SEED), have=lambda piece: piece % 2 == 0) as even,
        seeding(made, alone(SECOND), have=lambda piece: piece % 2 != 0) as odd,
        ThreadPoolExecutor(1) as pool,
    ):
        slower = alone("127.0.0.10", down_limit=300_000, patience_s=10)
        second = pool.submit(fetch, made.torrent, tmp_path / "second", peers=[first], settings=slower)
        fetch(
            made.torrent, tmp_path / "first", peers=[even, odd], settings=alone(ME, listen=(first,), down_limit=600_000),
            events=events.append,
        )  # fmt: skip
        assert held(second.result()) == made.files
    assert Staying(1) in events


def test_in_a_lab_peers_find_one_another_with_no_address_given(made: Made, tmp_path: Path) -> None:
    lab = Settings(listen=(f"{SEED}:0",), patience_s=60).lab()
    assert (lab.dht, lab.trackers, lab.pex, lab.web_seeds) == (False,) * 4
    with serving(made, lab) as (_, handle):
        handle.set_flags(0, lt.torrent_flags.disable_lsd)
        got = fetch(made.magnet, tmp_path / "here", settings=replace(lab, listen=(f"{ME}:0",)))
    assert held(got) == made.files


class Quiet(SimpleHTTPRequestHandler):
    """A web seed without ranges that are asked for would be one of whole files; libtorrent asks, so this answers them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = (self.headers["Range"] or f"bytes=0-{len(data) - 1}").removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None: ...


def test_a_web_seed_is_enough_unless_it_is_switched_off(tmp_path: Path) -> None:
    root = tmp_path / "there"
    made = make(root, weights=100_000)
    with HTTPServer(("127.0.0.1", 0), lambda *args: Quiet(*args, directory=str(root))) as server:
        serving_thread = Thread(target=server.serve_forever)
        serving_thread.start()
        try:
            made = torrent_of(made.folder, web=f"http://127.0.0.1:{server.server_port}/")
            # From 127.0.0.1, as a machine's own address would: the outgoing address binds web seeds as well.
            assert held(fetch(made.torrent, tmp_path / "here", settings=alone("127.0.0.1"))) == made.files
            with pytest.raises(StoreError, match="no peer is there"):
                fetch(made.torrent, tmp_path / "off", settings=alone("127.0.0.1", web_seeds=False, patience_s=1))
        finally:
            server.shutdown()
            serving_thread.join()

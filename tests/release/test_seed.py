"""seed: checked before it is served, found wherever it lies, stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mistral7b.errors import StoreError
from mistral7b.release.fetch import fetch
from mistral7b.release.seed import Peer, seed
from mistral7b.release.session import Settings, pack, parse_peer, parse_rate
from tests.cli.conftest import run as run  # the command, run in this process
from tests.release.torrents import NAME, Made, alone, make

Run = Callable[..., object]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, weights=600_000)


def sources(made: Made) -> dict[str, tuple[Path, Path | None]]:
    inside = made.folder.parent / "elsewhere"
    return {
        "the folder, its torrent beside it": (made.folder, None),
        "the torrent, its folder beside it": (made.torrent, None),
        "the torrent, and a folder of another name": (made.torrent, inside),
        "a folder with the torrent in it": (inside, None),
    }


@pytest.mark.parametrize("how", sources(Made(Path(), Path(), "")))
def test_it_serves_what_is_right(made: Made, tmp_path: Path, how: str) -> None:
    source, data = sources(made)[how]
    if not source.exists() or data is not None:
        made.folder.rename(tmp_path / "elsewhere")
    if data is None and source.name == "elsewhere":
        made.torrent.rename(source / made.torrent.name)
    seen, slow = list[Peer](), how.startswith("the folder")
    with (
        seed(source, data=data, settings=alone("127.0.0.2", up_limit=400_000 if slow else 0)) as seeding,
        ThreadPoolExecutor(1) as pool,
    ):
        before = {path.name: path.read_bytes() for path in seeding.folder.iterdir() if path.suffix != ".torrent"}
        fetched = pool.submit(
            fetch, made.magnet, tmp_path / "here", peers=[seeding.address], settings=alone("127.0.0.3", patience_s=60)
        )
        while not fetched.done():
            seen += seeding.look()[1]
        got = fetched.result()
    assert {path.name: path.read_bytes() for path in got.iterdir()} == before
    assert not slow or any(peer.address.startswith("127.0.0.3:") for peer in seen)


def test_a_changed_file_is_named_and_left_alone(made: Made) -> None:
    weights = made.folder / "model.safetensors"
    weights.write_bytes(b"\0" + weights.read_bytes()[1:])
    changed = weights.read_bytes()
    said = r"model\.safetensors of tiny-release differs from the torrent"
    with pytest.raises(StoreError, match=said), seed(made.folder, settings=alone("127.0.0.2")):
        pass
    assert weights.read_bytes() == changed


def test_what_cannot_be_seeded(made: Made, tmp_path: Path) -> None:
    def refused(source: Path, said: str, data: Path | None = None) -> None:
        with pytest.raises(StoreError, match=said), seed(source, data=data, settings=alone("127.0.0.2")):
            pass

    refused(tmp_path / "nowhere", "does not exist")
    refused(made.folder / "config.json", r"is no \.torrent file")
    refused(made.torrent, r"README\.md is missing", tmp_path)
    (made.folder / "tokenizer.model").unlink()
    refused(made.torrent, r"tokenizer\.model is missing")
    made.torrent.unlink()
    refused(made.folder, r"no \.torrent lies beside or in it")


def test_every_way_to_a_peer_is_a_switch() -> None:
    every, none = Settings(), Settings(dht=False, lsd=False, upnp=False)
    assert [pack(every)[way] for way in ("enable_dht", "enable_lsd", "enable_upnp")] == [True, True, False]  # type: ignore[literal-required]
    assert [pack(none)[way] for way in ("enable_dht", "enable_lsd", "enable_upnp")] == [False, False, False]  # type: ignore[literal-required]
    assert pack(alone("127.0.0.5"))["outgoing_interfaces"] == "127.0.0.5", "what listens on one address speaks from it"
    assert pack(every)["outgoing_interfaces"] == ""


def test_rates_and_addresses() -> None:
    assert [parse_rate(text) for text in ("1000", "500k", "2.5M", "1g")] == [1000, 500_000, 2_500_000, 10**9]
    for text in ("", "0", "-1", "fast", "1T", "nan", "inf"):
        with pytest.raises(StoreError, match="is no rate"):
            parse_rate(text)
    assert parse_peer("[::1]:80") == ("::1", 80)
    assert parse_peer("host.example:6881") == ("host.example", 6881)
    with pytest.raises(StoreError, match="rate limit"):
        Settings(up_limit=-1)


def test_the_command_tells_events_and_ends_with_ctrl_c(made: Made, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mistral7b", "seed", str(made.folder), "--listen", "127.0.0.2:0", "--no-dht",
               "--no-trackers", "--no-lsd", "--json"]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "src"}
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        events = iter(json.loads(line) for line in running.stdout)
        seeding = next(event for event in events if event["event"] == "seeding")
        assert (seeding["name"], seeding["folder"]) == (NAME, str(made.folder))
        fetch(made.magnet, tmp_path / "here", peers=[seeding["address"]], settings=alone("127.0.0.3"))
        assert next(event for event in events if event["event"] == "connected")["peer"].startswith("127.0.0.3:")
        assert next(event for event in events if event["event"] == "traffic" and event["sent"] > 600_000)["total"] > 600_000
        running.send_signal(signal.SIGINT)
        for _ in events:
            pass
        assert running.stderr.read() == ""
    assert running.returncode == 0


def test_the_command_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    run("seed", tmp_path / "nowhere").fails_with("does not exist")  # type: ignore[attr-defined]
    run("seed", tmp_path, "--up", "fast").fails_with("is no rate")  # type: ignore[attr-defined]

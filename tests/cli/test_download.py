"""`download` and what every verb does with a link: from the hub, a web server, a swarm; the store's own verbs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mistral7b.errors import StoreError
from tests.cli.conftest import Run
from tests.release.published import SIGNER, STRANGER, bytes_of, release
from tests.release.swarms import ALONE, seeding, torrent_of
from tests.release.web import Web, files_of, serving


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISTRAL7B_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("published") / "story")


@pytest.fixture
def web(story: Path) -> Iterator[Web]:
    with serving(files_of(story, "story/")) as running:
        yield running


def test_download_asks_the_hub_for_what_was_named(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(hub_id: str, **options: Any) -> Path:
        options.pop("progress")(1, 2)
        asked.append({"hub_id": hub_id} | options)
        return model

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("mistral7b.store.hub.fetch", fetch)
    ran = run("download", "v0.3", "--to", tmp_path / "here", "--revision", "main")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{model}: ")
    told = json.loads(run("download", "some/model", "--json").out)
    assert told["path"] == str(model)
    assert asked == [
        {"hub_id": "mistralai/Mistral-7B-v0.3", "revision": "main", "target": tmp_path / "here"},
        {"hub_id": "some/model", "revision": None, "target": None},
    ]


def test_a_download_that_fails_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(hub_id: str, **_: Any) -> Path:
        raise StoreError(f"the hub cannot be reached for {hub_id}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("mistral7b.store.hub.fetch", fetch)
    run("download", "some/model").fails_with("the hub cannot be reached for some/model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    run("download", "some/model").fails_with("offline")
    run("download", "nonsense").fails_with("there is no model 'nonsense'")


def test_a_release_is_told_check_by_check(run: Run, home: Path, web: Web, story: Path) -> None:
    ran = run("download", f"{web.url}story/", "--signed-by", SIGNER)
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[:2] for line in ran.out.splitlines()[:4]] == [
        ["✓", "source"], ["✓", "manifest"], ["✓", "signature"], ["–", "official"],
    ]  # fmt: skip
    assert str(home) in ran.out.splitlines()[-1]
    told = json.loads(run("download", f"{web.url}story/", "--json").out)
    assert (told["fetched"], told["signer"], told["exported"]) == (False, SIGNER, None)
    assert {check["name"]: check["status"] for check in told["checks"]}["signature"] == "skip"
    assert bytes_of(Path(told["path"])) == bytes_of(story)
    run("download", f"{web.url}story/", "--signed-by", STRANGER).fails_with("is signed by", SIGNER)


def test_generate_just_takes_a_link(run: Run, home: Path, web: Web, story: Path) -> None:
    wanted = ("generate", "Once upon a time", "-n", 8, "--greedy", "-q", "-m")
    assert run(*wanted, f"{web.url}story/").out == run(*wanted, story).out != ""
    del web.files["story/model.safetensors"]
    assert run(*wanted, f"{web.url}story/").status == 0, "from the store"
    run(*wanted, f"{web.url}nothing/").fails_with("has no manifest.json")
    run(*wanted, "magnet:?dn=x").fails_with("names no torrent")
    run(*wanted, "https:/h/x").fails_with("names no server")
    run(*wanted, "http:foo").fails_with("names no server")


def test_a_model_folder_may_be_called_torrent(run: Run, home: Path, story: Path, tmp_path: Path) -> None:
    folder = tmp_path / "story.torrent"
    shutil.copytree(story, folder)
    wanted = ("generate", "Once upon a time", "-n", 8, "--greedy", "-q", "-m")
    assert run(*wanted, folder).out == run(*wanted, story).out != ""


def test_an_export_that_cannot_be_is_refused_before_the_download(run: Run, home: Path, web: Web, tmp_path: Path) -> None:
    (tmp_path / "carry").mkdir()
    (tmp_path / "carry" / "mine").touch()
    for name in (f"{web.url}story/", "some/model"):
        run("download", name, "--export", tmp_path / "carry").fails_with("already exists")
        run("download", name, "--export", tmp_path / "a" / "b").fails_with("make it first")
        run("download", name, "--export", tmp_path / "x", "--to", tmp_path / "x").fails_with("a folder of its own")
    assert web.asked == []
    assert not home.exists()


def test_the_store_is_listed_and_pruned(run: Run, home: Path, web: Web) -> None:
    assert run("download", "--list").out == f"{home} holds no release\n"
    run("download", f"{web.url}story/")
    listed = json.loads(run("download", "--list", "--json").out)
    (model,) = listed["models"]
    assert model["source"] == f"{web.url}story/"
    assert run("download", "--list").out.split()[0] == model["name"]
    assert json.loads(run("download", "--prune", "--json").out) == {"path": str(home), "freed": 0}
    run("download", "gone", "--prune").fails_with("holds no model gone")
    freed = json.loads(run("download", model["name"], "--prune", "--json").out)["freed"]
    assert freed == model["bytes"]
    assert json.loads(run("download", "--list", "--json").out)["models"] == []


def test_an_export_is_checked_without_a_network(run: Run, home: Path, web: Web, story: Path, tmp_path: Path) -> None:
    told = json.loads(run("download", f"{web.url}story/", "--export", tmp_path / "carry", "--json").out)
    assert told["exported"] == [str(path) for path in sorted((tmp_path / "carry").rglob("*")) if path.is_file()]
    made = tmp_path / "carry" / "story"
    assert bytes_of(made) == bytes_of(story)
    checking = ("verify", made, "--manifest", made / "manifest.json", "--signed-by", tmp_path / "carry" / "story.pub")
    assert run(*checking).status == 0
    data = bytearray((made / "README.md").read_bytes())
    data[0] ^= 1
    (made / "README.md").write_bytes(data)
    ran = run(*checking)
    assert ran.status == 2
    assert "README.md is changed" in ran.out
    run("download", f"{web.url}story/", "--export", tmp_path / "carry").fails_with("already exists")
    stored = Path(told["path"]) / "README.md"
    stored.chmod(0o644)
    stored.write_bytes(data)
    run("download", f"{web.url}story/", "--export", tmp_path / "again").fails_with("was changed since it came")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Missing argument 'NAME'"),
        (("--list", "--prune"), "give one of them"),
        (("some/model", "--no-dht"), "--no-dht is for releases"),
        (("some/model", "--no-lsd"), "--no-lsd is for releases"),
        (("some/model", "--down", "1M"), "--down is for releases"),
        (("some/model", "--listen", "127.0.0.1:1"), "--listen is for releases"),
        (("some/model", "--patience", "5"), "--patience is for releases"),
        (("some/model", "--signed-by", "x"), "--signed-by is for releases"),
        (("some/model", "--peer", "127.0.0.1:1"), "--peer is for releases"),
        (("some/model", "--source", "tar"), "--source tar is for published models"),
        (("v0.3", "--source", "torrent"), "v0.3 was not launched as a torrent"),
        (("https://h/x/", "--revision", "main"), "--revision is for hub ids"),
        (("https://h/x/", "--variant", "v9"), "there is no published model 'v9'"),
        (("https://h/x/", "--signed-by", "nobody"), "is neither a public key"),
        (("https://h/x/", "--only", "safetensors", "--export", "carry"), "--only fetches a part"),
        (("https://h/x.pth",), "is a pickle"),
        (("https://[x/",), "is malformed"),
        (("https://h/x/", "--patience", "0"), "some patience"),
    ],
)
def test_what_makes_no_sense(run: Run, home: Path, args: tuple[str, ...], said: str) -> None:
    run("download", *args).fails_with(said)
    assert not home.exists()


@pytest.mark.parametrize("verb", [("download",), ("generate", "Once", "-m")])
def test_a_torrent_without_libtorrent_is_one_line(
    run: Run, home: Path, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    (tmp_path / "story.torrent").write_bytes(torrent_of(story).data)
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    for module in ("link", "swarm"):
        monkeypatch.delitem(sys.modules, f"mistral7b.release.{module}", raising=False)
    for link in (tmp_path / "story.torrent", f"magnet:?xt=urn:btih:{'a' * 40}"):
        run(*verb, link).fails_with("a torrent needs the package libtorrent; pip install 'mistral7b[release]'")


def test_a_signature_that_nothing_could_check_is_said_before_anything_is_fetched(
    run: Run, home: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    said = "--signed-by needs the package cryptography; pip install 'mistral7b[release]'"
    run("download", f"{web.url}story/", "--signed-by", SIGNER).fails_with(said)
    assert web.asked == []


def test_a_swarm(run: Run, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL7B_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("mistral7b.release.fetch.Settings", lambda: ALONE)  # for `generate -m`, which has no options
    torrent = torrent_of(story)
    ways = ("--no-dht", "--no-trackers", "--no-lsd", "--no-pex", "--listen", "127.0.0.1:0")
    wanted = ("generate", "Once upon a time", "-n", 8, "--greedy", "-q", "-m")
    with seeding((story, torrent)) as peer:
        ran = run("download", torrent.magnet, "--peer", peer, "--signed-by", SIGNER, *ways, "--to", tmp_path / "mine")
        assert ran.status == 0, ran.err
        assert bytes_of(tmp_path / "mine") == bytes_of(story)
        assert run("generate", *wanted[1:], tmp_path / "mine").out == run(*wanted, story).out
        assert run(*wanted, f"{torrent.magnet}&x.pe={peer}").out == run(*wanted, story).out

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import StoreError
from mistral7b.store.names import HUB, LAUNCHED, TORRENT, Fetcher, Progress, resolve
from tests.checkpoint import made


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to stand in, and a hub's cache with nothing in it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def never(name: str, progress: Progress | None) -> Path:
    raise AssertionError(f"{name} was about to be fetched")


def recorder(seen: list[str]) -> Fetcher:
    def fetch(name: str, progress: Progress | None) -> Path:
        seen.append(name)
        return Path("fetched")

    return fetch


def test_paths_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.consolidated(tmp_path / "here", made.weights())
    (folder / "x.gguf").touch()
    for name in (".", folder, str(folder), "x.gguf", Path("x.gguf"), "./x.gguf"):
        assert resolve(name, fetchers={HUB: never}).exists()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/here") == folder


def test_a_folder_of_a_hub_ids_name_is_that_folder(tmp_path: Path) -> None:
    folder = tmp_path / "here" / "mistralai" / "Mistral-7B-v0.3"
    folder.mkdir(parents=True)
    assert resolve("mistralai/Mistral-7B-v0.3", fetchers={HUB: never}) == Path("mistralai/Mistral-7B-v0.3")


@pytest.mark.parametrize(
    "name",
    ["./model", "/no/where", "~/nowhere-at-all", "../x/y", "a/b/c", "model.gguf", "a/model.gguf", "a\\b", "there/x", Path("tiny"),
     Path("org/name"), "org/", "x.pth"],
)  # fmt: skip
def test_what_looks_like_a_path_is_never_asked_for_on_the_network(tmp_path: Path, name: str | Path) -> None:
    (tmp_path / "here" / "there").mkdir()
    with pytest.raises(StoreError, match=r"does not exist; give a model folder or a .gguf file") as caught:
        resolve(name, fetchers={HUB: never, "http": never})
    assert "\n" not in str(caught.value)


def test_names_of_variants_and_hub_ids() -> None:
    seen: list[str] = []
    for name in ("v0.1", "V0.3-Instruct", "org/name", "o.r-g/n_a.me"):
        assert resolve(name, fetchers={HUB: recorder(seen)}) == Path("fetched")
    assert seen == ["mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-Instruct-v0.3", "org/name", "o.r-g/n_a.me"]
    with pytest.raises(
        StoreError, match=r"v0.2 is not on the hub: it was published as mistral-7B-v0.2.tar; run `mistral7b download"
    ):
        resolve("v0.2", fetchers={HUB: never})


@pytest.mark.parametrize(
    ("name", "words"), [("v0.4", "did you mean v0.3"), ("tinny", "did you mean tiny"), ("gpt", "no model 'gpt'")]
)
def test_a_word_that_is_no_name(name: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        resolve(name, fetchers={HUB: never})
    assert "a hub id" in str(caught.value)
    with pytest.raises(StoreError, match="name is empty"):
        resolve("")


@pytest.mark.parametrize("name", ["x" * 5000, "a/" + "x" * 5000, "~no-such-user/model", "a\0b", "a/b\0", "\n"], ids=range(6))
def test_what_no_file_system_could_hold_is_one_line(name: str) -> None:
    with pytest.raises(StoreError, match=r"no model|does not exist") as caught:
        resolve(name, fetchers={HUB: never})
    assert "\n" not in str(caught.value)


def test_links_wait_for_a_fetcher() -> None:
    for link, scheme in (("magnet:?xt=urn:btih:208b", "magnet"), ("https://host/x.tar", "https"), ("HTTP://host/x", "http")):
        with pytest.raises(StoreError, match=f"{scheme} links are not fetched here; run `mistral7b download` on it"):
            resolve(link, fetchers={HUB: never})
        seen: list[str] = []
        assert resolve(link, fetchers={HUB: never, scheme: recorder(seen)}) == Path("fetched")
        assert seen == [link]


def test_torrents_and_launches_go_to_their_fetchers(tmp_path: Path) -> None:
    (tmp_path / "story.torrent").touch()
    seen: list[str] = []
    assert resolve(str(tmp_path / "story.torrent")) == tmp_path / "story.torrent"
    assert resolve(str(tmp_path / "story.torrent"), fetchers={TORRENT: recorder(seen)}) == Path("fetched")
    assert resolve("V0.2", fetchers={LAUNCHED: recorder(seen), HUB: never}) == Path("fetched")
    assert resolve("v0.1", fetchers={LAUNCHED: never, HUB: recorder(seen)}) == Path("fetched")
    assert seen == [str(tmp_path / "story.torrent"), "v0.2", "mistralai/Mistral-7B-v0.1"]


def test_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.setattr("mistral7b.store.names.files", lambda _: tmp_path / "models")
    with pytest.raises(StoreError, match="this installation does not carry tiny; pass a model folder"):
        resolve("tiny")
    made.hf(tmp_path / "models" / "tiny", made.weights())
    (tmp_path / "here" / "tiny").mkdir()
    assert resolve("tiny", offline=True) == tmp_path / "models" / "tiny", "not the folder of this name that happens to be here"
    assert resolve("./tiny") == resolve(Path("tiny")) == Path("tiny")
    with pytest.raises(StoreError, match="does not carry tiny-instruct; take tiny, or install a version that does"):
        resolve("tiny-instruct")


# ── the hub's cache ───────────────────────────────────────────────────────────────────────────────────────────────────
def snapshot(cache: Path) -> Path:
    """A whole model in the hub's cache, as its own client leaves it."""
    folder = cache / "models--org--name" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (cache / "models--org--name" / "refs").mkdir()
    (cache / "models--org--name" / "refs" / "main").write_text("a" * 40)
    return made.hf_sharded(folder, made.weights())


def test_a_whole_snapshot_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(tmp_path / "cache")
    (folder / "tokenizer.model").touch()
    monkeypatch.setattr("mistral7b.store.hub.fetch", never)
    assert resolve("org/name") == resolve("org/name", offline=True) == folder
    assert open_checkpoint(folder).format == "hf"


def test_a_snapshot_without_a_tokenizer_is_completed_if_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(tmp_path / "cache")
    asked: list[str] = []
    monkeypatch.setattr("mistral7b.store.hub.fetch", lambda name, progress: asked.append(name) or folder)
    assert resolve("org/name", offline=True) == folder
    assert asked == []
    assert resolve("org/name") == folder
    assert asked == ["org/name"]


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    folder = snapshot(tmp_path / "cache")
    (folder / "model-00002-of-00003.safetensors").unlink()
    if how == "environment":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("org/name", "v0.1"):
        with pytest.raises(StoreError, match="is not in the hub's cache and this is offline; go online once, or pass a folder"):
            resolve(name, offline=how == "argument")


def test_a_config_that_is_no_mistral_is_not_a_whole_snapshot(tmp_path: Path) -> None:
    folder = snapshot(tmp_path / "cache")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(StoreError, match="is not in the hub's cache"):
        resolve("org/name", offline=True)

"""get: links of every kind into the store or a folder; broken off, refused, shared. A server stands on the loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mistral7b.checkpoint.manifest import MANIFEST
from mistral7b.errors import CheckpointError, ReleaseError, StoreError
from mistral7b.release import launch
from mistral7b.release.blobs import Store
from mistral7b.release.check import Claim
from mistral7b.release.get import Got, get
from mistral7b.release.home import Home
from mistral7b.release.inspect import SIGNATURE
from mistral7b.release.launch import find
from mistral7b.release.ways import Wish
from tests.checkpoint import folders, made
from tests.cli.subprocesses import ENVIRONMENT
from tests.release.published import OTHER, SIGNER, STRANGER, bytes_of, release, signed
from tests.release.web import Web, files_of, serving


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("published") / "story")


@pytest.fixture
def web(story: Path) -> Iterator[Web]:
    with serving(files_of(story, "story/")) as running:
        yield running


def fetch(link: str, home: Home, **wish: object) -> Got:
    source = find(link)
    assert source is not None
    return get(source, home, Wish(**wish))  # type: ignore[arg-type]


def checks(got: Got) -> dict[str, str]:
    return {check.name: check.status for check in got.checks}


def test_a_folder_behind_a_web_server(web: Web, home: Home, story: Path) -> None:
    got = fetch(f"{web.url}story/", home, claim=Claim(signed_by=SIGNER))
    assert bytes_of(got.folder) == bytes_of(story)
    assert checks(got) == {"source": "pass", "manifest": "pass", "signature": "pass", "official": "skip"}
    assert got.fetched
    assert not list(home.quarantine.iterdir()), "nothing is left behind"
    asked = len(web.asked)
    again = fetch(f"{web.url}story/manifest.json", home)
    assert (again.folder, again.fetched) == (got.folder, False)
    assert checks(again) == {"source": "pass", "manifest": "pass", "signature": "skip", "official": "skip"}
    assert len(web.asked) == asked, "all of it was in the store"
    with pytest.raises(ReleaseError, match="is signed by"):
        fetch(f"{web.url}story", home, claim=Claim(signed_by=STRANGER))


def test_a_model_of_another_source_under_the_same_key_is_not_taken(web: Web, home: Home, story: Path) -> None:
    got = fetch(f"{web.url}story/", home)
    record = got.folder.with_name(f"{got.folder.name}.json")
    told = json.loads(record.read_text())
    assert told["identity"] == f"{web.url}story/"
    record.write_text(json.dumps(told | {"identity": "https://elsewhere/"}))
    again = fetch(f"{web.url}story/", home)
    assert again.fetched
    assert not fetch(f"{web.url}story/", home).fetched


def test_a_folder_of_the_users_own(web: Web, home: Home, story: Path, tmp_path: Path) -> None:
    got = fetch(f"{web.url}story/", home, to=tmp_path / "mine")
    assert got.folder == tmp_path / "mine"
    assert bytes_of(tmp_path / "mine") == bytes_of(story)
    assert os.listdir(tmp_path) == ["mine"], "neither a quarantine nor a store"
    with pytest.raises(StoreError, match="mine already holds something"):
        fetch(f"{web.url}story/", home, to=tmp_path / "mine")
    with pytest.raises(StoreError, match="nowhere is not a folder; make it first"):
        fetch(f"{web.url}story/", home, to=tmp_path / "nowhere" / "mine")


def test_the_folder_this_runs_in_is_refused_before_anything_is_fetched(
    web: Web, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders.folder(tmp_path, "here"))
    for to in (Path(), tmp_path / "here"):
        with pytest.raises(StoreError, match="is the folder this runs in, which cannot be replaced"):
            fetch(f"{web.url}story/", home, to=to)
    assert web.asked == []
    assert os.listdir(tmp_path) == ["here"]


def test_what_two_releases_share_is_fetched_once(web: Web, home: Home, tmp_path: Path) -> None:
    web.files |= files_of(release(tmp_path / "other", seed=1), "other/")
    one = fetch(f"{web.url}story/", home)
    other = fetch(f"{web.url}other/", home)
    assert "other/tokenizer.model.v3" not in web.fetched()
    assert "other/model.safetensors" in web.fetched()
    assert os.path.samefile(one.folder / "tokenizer.model.v3", other.folder / "tokenizer.model.v3")
    mine = fetch(f"{web.url}story/", home, to=tmp_path / "mine")
    assert web.fetched().count("story/model.safetensors") == 1
    assert (mine.folder / "model.safetensors").stat().st_nlink == 1


def test_a_part_of_a_release(web: Web, home: Home) -> None:
    got = fetch(f"{web.url}story/", home, claim=Claim(only=("*.safetensors*",)))
    assert folders.names(got.folder) == [MANIFEST, SIGNATURE, "model.safetensors"]
    assert folders.names(fetch(f"{web.url}story/", home).folder) != folders.names(got.folder), "they are two models"
    with pytest.raises(StoreError, match=r"none of the 4 files of .* matches --only; they are "):
        fetch(f"{web.url}story/", home, claim=Claim(only=("*.gguf",)))


def _changed(web: Web, name: str) -> None:
    data = bytearray(web.files[f"story/{name}"])
    data[len(data) // 2] ^= 1
    web.files[f"story/{name}"] = bytes(data)


def test_a_changed_byte_is_refused_and_the_next_try_fetches_it_alone(web: Web, home: Home, story: Path) -> None:
    good = web.files["story/model.safetensors"]
    _changed(web, "model.safetensors")
    with pytest.raises(StoreError, match=r"story/model\.safetensors is not the file it should be"):
        fetch(f"{web.url}story/", home)
    assert not list(home.models.glob("*"))
    assert not list(home.blobs.glob("*"))
    web.files["story/model.safetensors"] = good
    assert bytes_of(fetch(f"{web.url}story/", home).folder) == bytes_of(story)
    assert web.fetched().count("story/config.json") == 1


def test_swapped_files_and_wrong_signatures_are_refused(web: Web, home: Home, story: Path, tmp_path: Path) -> None:
    swapped = {"story/README.md": "story/config.json", "story/config.json": "story/README.md"}
    web.files |= {name: web.files[other] for name, other in swapped.items()}
    with pytest.raises(StoreError, match="is not the file it should be"):
        fetch(f"{web.url}story/", home)
    web.files |= files_of(story, "story/")
    web.files[f"story/{SIGNATURE}"] = (signed(release(tmp_path / "forged"), OTHER) / SIGNATURE).read_bytes()
    asked = len(web.asked)
    with pytest.raises(ReleaseError, match="signed by"):
        fetch(f"{web.url}story/", home, claim=Claim(signed_by=SIGNER))
    assert web.fetched()[asked:] == [f"story/{MANIFEST}", f"story/{SIGNATURE}"], "no weights before the signature"
    assert not list(home.models.glob("*"))


@pytest.mark.parametrize("name", ["../x.json", "pytorch_model.bin", "run.sh"])
def test_a_manifest_of_what_no_model_has(web: Web, home: Home, name: str) -> None:
    web.files[f"story/{MANIFEST}"] = b'{"files": {"%s": {"sha256": "%s", "size": 1}}}' % (name.encode(), b"0" * 64)
    with pytest.raises(ReleaseError, match=r"no plain file name|a pickle|no part of a model"):
        fetch(f"{web.url}story/", home)
    assert [path for path in home.root.rglob("*") if path.is_file() and path.name == Path(name).name] == []


def test_mirrors_stand_in(web: Web, home: Home, story: Path) -> None:
    got = fetch(f"{web.url}gone/", home, mirrors=(f"{web.url}lost/", f"{web.url}story"))
    assert bytes_of(got.folder) == bytes_of(story)
    with pytest.raises(StoreError, match=r"gone/ has no manifest\.json"):
        fetch(f"{web.url}gone/", Home(home.root / "other"), mirrors=(f"{web.url}lost/",))


def test_a_single_file(web: Web, home: Home, story: Path) -> None:
    web.files["tiny.gguf"] = b"GGUF" + bytes(1000)
    sha = hashlib.sha256(web.files["tiny.gguf"]).hexdigest()
    got = fetch(f"{web.url}tiny.gguf#sha256={sha}", home)
    assert checks(got)["source"] == "pass"
    assert bytes_of(got.folder) == {"tiny.gguf": web.files["tiny.gguf"]}
    unknown = fetch(f"{web.url}tiny.gguf", home)
    assert (unknown.folder, unknown.fetched) == (got.folder, False)
    with pytest.raises(StoreError, match="carries no signature"):
        fetch(f"{web.url}other.gguf", home, claim=Claim(signed_by=SIGNER))
    other = Home(home.root / "other")
    assert checks(fetch(f"{web.url}tiny.gguf", other))["source"] == "skip", "nothing but the server vouches for it"
    web.files["bad.gguf"] = b"\x80\x04" + bytes(100)
    with pytest.raises(ReleaseError, match=r"bad is refused: bad\.gguf is no GGUF file; what came is in .*quarantine"):
        fetch(f"{web.url}bad.gguf", home)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_stated_hash_is_held_against_the_store_too(web: Web, home: Home, tmp_path: Path, story: Path, algorithm: str) -> None:
    web.files["tiny.gguf"] = b"GGUF" + bytes(1000)
    with tarfile.open(tmp_path / "story.tar", "w") as archive:
        archive.add(story, "story")
    web.files |= {"story.tar": (tmp_path / "story.tar").read_bytes()}
    for name in ("tiny.gguf", "story.tar"):
        data = web.files[name]
        right = f"{web.url}{name}#{algorithm}={hashlib.new(algorithm, data).hexdigest()}"
        assert fetch(right, home).fetched
        assert not fetch(right, home).fetched
        assert not fetch(f"{web.url}{name}", home).fetched
        with pytest.raises(StoreError, match="is not the file it should be"):
            fetch(f"{web.url}{name}#{algorithm}={hashlib.new(algorithm, b'other').hexdigest()}", home)
        assert not fetch(right, home).fetched, "what is there stays"


@pytest.mark.parametrize("asked", [{"claim": Claim(signed_by=SIGNER)}, {"claim": Claim(variant="v0.3")}, {"again": True}])
def test_bytes_that_changed_in_the_store_are_seen_where_something_is_claimed_of_them(
    web: Web, home: Home, asked: dict[str, Any]
) -> None:
    got = fetch(f"{web.url}story/", home)
    unread = fetch(f"{web.url}story/", home).checks
    assert [check.detail.endswith(", as checked on arrival") for check in unread] == [True, True, False, False]
    assert not any("on arrival" in check.detail for check in fetch(f"{web.url}story/", home, again=True).checks)
    path = got.folder / "README.md"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"@")
    with pytest.raises(
        ReleaseError, match=r"README\.md in .* was changed since it came; run `mistral7b download story-\w+ --prune"
    ):
        fetch(f"{web.url}story/", home, **asked)
    Store(home).drop(got.folder.name)
    assert fetch(f"{web.url}story/", home).fetched, "the damaged blob is not taken"


def pth_tar(tmp_path: Path) -> tuple[bytes, made.Weights]:
    weights = made.weights()
    folder = made.pth(folders.folder(tmp_path, "mistral-7B-v0.1"), weights)
    with tarfile.open(tmp_path / "v0.1.tar", "w") as archive:
        archive.add(folder, folder.name)
    return (tmp_path / "v0.1.tar").read_bytes(), weights


def test_a_launch_tar_is_rewritten_and_its_pickle_kept_apart(
    web: Web, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, weights = pth_tar(tmp_path)
    web.files["mistral-7B-v0.1.tar"] = data
    link = f"{web.url}mistral-7B-v0.1.tar"
    with pytest.raises(ReleaseError, match=r"consolidated\.00\.pth, a pickle"):
        fetch(link, home)
    monkeypatch.setitem(launch.TARS, "v0.1", (link, hashlib.md5(data).hexdigest()))
    web.cut_at["mistral-7B-v0.1.tar"] = [len(data) // 2]
    got = fetch(link, Home(tmp_path / "launched"))
    assert folders.names(got.folder) == ["consolidated.safetensors", "params.json"]
    written = folders.load(got.folder / "consolidated.safetensors")
    assert written.keys() == weights.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in weights.items())
    assert got.apart is not None
    assert folders.names(got.apart) == ["consolidated.00.pth", "params.json"]
    assert got.apart.parent == tmp_path / "launched" / "apart"
    assert Store(Home(tmp_path / "launched")).prune() > 0
    assert not got.apart.exists()


def test_a_launch_with_code_in_its_pickle_is_refused(
    web: Web, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    folder = folders.folder(tmp_path, "v")
    made.pth(folder, made.weights())
    torch.save({"tok_embeddings.weight": Evil()}, folder / "consolidated.00.pth")
    with tarfile.open(tmp_path / "v0.1.tar", "w") as archive:
        archive.add(folder, folder.name)
    web.files["v0.1.tar"] = (tmp_path / "v0.1.tar").read_bytes()
    monkeypatch.setitem(launch.TARS, "v0.1", (f"{web.url}v0.1.tar", None))
    with pytest.raises(CheckpointError, match="refused: it contains more than tensors and could run code"):
        fetch(f"{web.url}v0.1.tar", home)
    assert not (tmp_path / "ran").exists()
    assert not list(home.models.glob("*"))


def test_a_tar_with_another_md5_is_refused(web: Web, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["v0.1.tar"], _ = pth_tar(tmp_path)
    monkeypatch.setitem(launch.TARS, "v0.1", (f"{web.url}v0.1.tar", "0" * 32))
    with pytest.raises(StoreError, match=r"is not the file it should be: .* with md5 "):
        fetch(f"{web.url}v0.1.tar", home)


def plain_tar(story: Path, tmp_path: Path) -> tuple[bytes, dict[str, bytes]]:
    """A tar of a release without its manifest, and what is in it."""
    plain = {name: data for name, data in bytes_of(story).items() if not name.startswith(MANIFEST)}
    with tarfile.open(tmp_path / "story.tar", "w") as archive:
        for name in plain:
            archive.add(story / name, f"story/{name}")
    return (tmp_path / "story.tar").read_bytes(), plain


def _cut_off(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """The store is stopped where it takes its `nth` file."""
    move, calls = Store._move, []

    def moving(self: Store, *file: object) -> None:
        calls.append(file)
        if len(calls) == nth:
            raise KeyboardInterrupt
        move(self, *file)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "_move", moving)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_tar_cut_off_while_the_store_takes_it_is_whole_afterwards(
    web: Web, home: Home, story: Path, tmp_path: Path, nth: int
) -> None:
    web.files["story.tar"], plain = plain_tar(story, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        _cut_off(patch, nth)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{web.url}story.tar", home)
    assert len(list(home.blobs.iterdir())) == nth - 1
    got = fetch(f"{web.url}story.tar", home)
    assert bytes_of(got.folder) == plain
    assert checks(got)["source"] == "skip"
    assert web.fetched().count("story.tar") == 1
    with pytest.MonkeyPatch.context() as patch:
        _cut_off(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{web.url}story.tar", Home(tmp_path / "b"))
    for blob in (tmp_path / "b" / "blobs").iterdir():
        blob.unlink()
    assert bytes_of(fetch(f"{web.url}story.tar", Home(tmp_path / "b")).folder) == plain, "from the start"


@pytest.mark.parametrize("stop", ["unpacking", "checking"])
def test_what_is_left_of_one_tar_is_not_taken_for_another(web: Web, home: Home, story: Path, tmp_path: Path, stop: str) -> None:
    """Both go `--to` one folder: the first is cut off, and the second, which states a hash, must not have that passed unread."""
    data, plain = plain_tar(story, tmp_path)
    web.files |= {"one.tar": data, "other.tar": data}
    broken = {"unpacking": "mistral7b.release.ways.unpack", "checking": "mistral7b.release.get._without_pickle"}[stop]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broken, Interrupted())
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{web.url}one.tar", home, to=tmp_path / "mine")
    others = {"other.tar": rf"{web.url}one\.tar;", f"one.tar#sha256={'0' * 64}": "the same link with another hash;"}
    for link, whose in others.items():
        with pytest.raises(StoreError, match=rf"\.mine\.quarantine holds what came of {whose} fetch that to its end"):
            fetch(f"{web.url}{link}", home, to=tmp_path / "mine")
    assert web.fetched() == ["one.tar"]
    assert bytes_of(fetch(f"{web.url}one.tar", home, to=tmp_path / "mine").folder) == plain
    assert web.fetched() == ["one.tar"], "it went on from what it had"


def test_a_launch_cut_off_between_its_two_folders(web: Web, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickle is apart already, the model not yet where it goes: the next call needs neither the server nor the pickle."""
    data, _ = pth_tar(folders.folder(tmp_path, "made"))
    web.files["v0.1.tar"] = data
    link = f"{web.url}v0.1.tar"
    monkeypatch.setitem(launch.TARS, "v0.1", (link, hashlib.md5(data).hexdigest()))
    places = folders.folder(tmp_path, "places")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mistral7b.release.get._settle", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            fetch(link, home, to=places / "mine")
    assert folders.names(places / "mine.pickle") == ["consolidated.00.pth", "params.json"]
    del web.files["v0.1.tar"]
    got = fetch(link, home, to=places / "mine")
    assert folders.names(got.folder) == ["consolidated.safetensors", "params.json"]
    assert got.apart == places / "mine.pickle"
    assert folders.names(places) == ["mine", "mine.pickle"]
    web.files["v0.1.tar"] = data
    with pytest.MonkeyPatch.context() as patch:
        _cut_off(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            fetch(link, home)
    got = fetch(link, home)
    assert folders.names(got.folder) == ["consolidated.safetensors", "params.json"]
    assert got.apart is not None
    assert folders.names(got.apart) == ["consolidated.00.pth", "params.json"]


class Interrupted:
    def __call__(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


KILLED = """
import sys
from pathlib import Path
from mistral7b.release.get import get
from mistral7b.release.home import Home
from mistral7b.release.launch import find
get(find(sys.argv[1]), Home(Path(sys.argv[2])))
"""


def test_what_is_left_of_a_transfer_does_not_block_what_came_another_way(
    web: Web, home: Home, story: Path, tmp_path: Path
) -> None:
    web.files |= files_of(story, "again/")
    web.files["story.gguf"] = data = b"GGUF" + bytes(1000)
    web.files["again.gguf"] = data
    digest = f"#sha256={hashlib.sha256(data).hexdigest()}"
    rooms = {path: home.quarantine / source.key() / "files" for path in ("again/", f"again.gguf{digest}")
             if (source := find(f"{web.url}{path}")) is not None}  # fmt: skip
    for path, name in (("again/", "model.safetensors"), (f"again.gguf{digest}", "again.gguf")):
        rooms[path].mkdir(parents=True)
        (rooms[path] / f"{name}.part").write_bytes(b"x")
        (rooms[path] / f"{name}.part.tag").write_text('"one"')
    fetch(f"{web.url}story/", home)
    assert bytes_of(fetch(f"{web.url}again/", home).folder) == bytes_of(story)
    fetch(f"{web.url}story.gguf{digest}", home)
    assert bytes_of(fetch(f"{web.url}again.gguf{digest}", home).folder) == {"again.gguf": data}


def test_a_manifest_of_more_than_the_disk_holds(web: Web, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file has room by itself, but not all of them."""
    sizes = {name: len(data) for name, data in web.files.items() if MANIFEST not in name}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": max(sizes.values()) + 1})())
    with pytest.raises(StoreError, match=r"story/ needs 0\.0 GB more and the disk has 0\.0 GB free"):
        fetch(f"{web.url}story/", home)
    assert web.fetched() == [f"story/{MANIFEST}", f"story/{SIGNATURE}"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({f"m{n}.safetensors": 1 for n in range(1001)}, "1,001 files"),
        ({"a.safetensors": 1 << 40, "b.safetensors": 1}, "it holds 1,099,511,627,777 bytes"),
        ({"a.safetensors": -1}, "-1 bytes"),
    ],
)
def test_a_manifest_without_measure(web: Web, home: Home, files: dict[str, int], said: str) -> None:
    listed = {name: {"sha256": "0" * 64, "size": size} for name, size in files.items()}
    web.files[f"story/{MANIFEST}"] = json.dumps({"files": listed}).encode()
    with pytest.raises(ReleaseError, match=f"story/ is refused: .*{said}"):
        fetch(f"{web.url}story/", home)


def test_a_fetch_that_is_killed_goes_on_where_it_was(web: Web, home: Home) -> None:
    """24 MB, killed in the middle: what was on the disk is not asked for again."""
    name, data = "large.gguf", b"GGUF" + os.urandom(24 << 20)
    web.files[name], web.hold_after = data, 16 << 20
    link = f"{web.url}{name}#sha256={hashlib.sha256(data).hexdigest()}"
    process = subprocess.Popen([sys.executable, "-c", KILLED, link, str(home.root)], env=ENVIRONMENT)
    assert web.held.wait(100)
    process.send_signal(signal.SIGKILL)
    assert process.wait(100) == -signal.SIGKILL
    there = next(home.quarantine.glob(f"*/files/{name}.part")).stat().st_size
    web.hold_after = None
    assert (fetch(link, home).folder / name).read_bytes() == data
    assert 0 < there < len(data)
    assert [wanted for path, wanted in web.asked if path == name] == [None, f"bytes={there}-"]

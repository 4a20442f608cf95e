from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mistral7b.checkpoint import aside as aside_room
from mistral7b.checkpoint.configs import read_object
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.manifest import compare, hash_files, read_manifest
from mistral7b.checkpoint.verify import verify
from mistral7b.errors import CheckpointError, ReleaseError
from mistral7b.release import make
from mistral7b.release.candidate import candidate_of
from mistral7b.release.make import Release, make_release, refuse_target
from mistral7b.release.manifest import to_bytes
from mistral7b.release.reach import Reach
from mistral7b.release.sign import verify_signature
from tests.checkpoint import made as checkpoints
from tests.release.made import FACTS, model, v1_pieces
from tests.release.test_keys import SECRET, TEXT

KEY = Ed25519PrivateKey.from_private_bytes(SECRET)
REACH = Reach(trackers=("udp://t.example:1337/announce",))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("release") / "story")


@pytest.fixture
def own(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may harm."""
    shutil.copytree(good, tmp_path / "story")
    return tmp_path / "story"


@pytest.fixture(scope="module")
def released(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return release(good, tmp_path_factory.mktemp("out") / "published", linked_from=1 << 20)


def release(folder: Path, out: Path, **options: Any) -> Release:
    return make_release(candidate_of(folder, FACTS), out, KEY, reach=options.pop("reach", REACH), **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_made(released: Release, good: Path) -> None:
    out = released.path.parent
    assert sorted(os.listdir(out.parent)) == ["published"], "nothing is left aside"
    assert sorted(os.listdir(out)) == ["README.md", "story", "story.magnet", "story.pub", "story.svg", "story.torrent"]
    own = {"README.md", "manifest.json", "manifest.json.sig"}
    assert set(os.listdir(released.path)) == {path.name for path in good.iterdir()} | own
    assert (out / "story.magnet").read_text() == released.torrent.magnet + "\n"
    assert (out / "story.pub").read_text() == TEXT + "\n"
    assert (released.path / "model.safetensors").samefile(good / "model.safetensors")


def test_every_byte_is_in_the_manifest_and_the_torrent(released: Release) -> None:
    folder = released.path
    stated = read_manifest(folder / "manifest.json")
    here = hash_files([path for path in folder.iterdir() if path.name not in ("manifest.json", "manifest.json.sig")])
    assert stated.keys() == here.keys()
    assert compare(stated, here) == []
    assert verify_signature(folder, TEXT).trusted
    info: Any = lt.bdecode((folder.parent / "story.torrent").read_bytes())[b"info"]
    assert {name.decode() for name in info[b"file tree"]} == set(os.listdir(folder))
    assert info[b"pieces"] == v1_pieces(info, contents(folder))
    assert verify(folder).ok


def test_what_the_manifest_says(released: Release, good: Path) -> None:
    told = json.loads((released.path / "manifest.json").read_bytes())
    assert told == released.manifest
    assert told.pop("files").keys() == {*os.listdir(good), "README.md"}
    checkpoint = open_checkpoint(good)
    tokenizer = (good / "tokenizer.model.v3").read_bytes()
    assert told == {
        "format": 1,
        "name": "story",
        "created": "2023-09-27T00:00:00Z",
        "licence": "Apache-2.0",
        "variant": None,
        "base_model": "v0.1",
        "config": checkpoint.config.to_params(),
        "weights": {"parameters": checkpoint.config.n_params, "tensors": {"bfloat16": 21}},
        "tokenizer": {
            "file": "tokenizer.model.v3",
            "sha256": hashlib.sha256(tokenizer).hexdigest(),
            "vocabulary": 8192,
            "generation": "v3",
        },
        "training": {"base": "v0.1", "steps": 7},
    }


def test_the_same_bytes_twice(released: Release, own: Path, tmp_path: Path) -> None:
    again = release(own, tmp_path / "again")
    assert contents(again.path.parent) == contents(released.path.parent)
    later = make_release(candidate_of(own, replace(FACTS, created=FACTS.created + 1)), tmp_path / "later", KEY, reach=REACH)
    assert later.torrent.v2 != released.torrent.v2
    elsewhere = release(own, tmp_path / "elsewhere", reach=Reach())
    assert (elsewhere.torrent.v1, elsewhere.torrent.v2) == (released.torrent.v1, released.torrent.v2)
    assert release(own, tmp_path / "pieces", piece_size=1 << 18).torrent.v2 != released.torrent.v2


def test_a_card_that_is_there_is_kept(own: Path, tmp_path: Path) -> None:
    (own / "README.md").write_text("# Mine\n")
    made = release(own, tmp_path / "out")
    assert (made.path / "README.md").read_text() == "# Mine\n"
    assert read_manifest(made.path / "manifest.json")["README.md"].size == 7


def test_an_older_manifest_is_held_against_the_files_and_replaced(own: Path, tmp_path: Path) -> None:
    from mistral7b.checkpoint.manifest import write_manifest

    before = write_manifest(own).read_bytes()
    made = release(own, tmp_path / "out")
    assert (own / "manifest.json").read_bytes() == before
    assert read_object(made.path / "manifest.json")["name"] == "story"
    (own / "config.json").write_text((own / "config.json").read_text() + " ")
    with pytest.raises(ReleaseError, match=r"story is not released, because verify fails at hashes: config\.json has"):
        candidate_of(own, FACTS)


def test_what_others_should_not_load(own: Path, tmp_path: Path) -> None:
    with (own / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ReleaseError, match="because verify fails at tensors"):
        candidate_of(own, FACTS)
    pth = tmp_path / "pth"
    pth.mkdir()
    checkpoints.pth(pth, checkpoints.weights())
    with pytest.raises(ReleaseError, match=r"consolidated\.00\.pth is a pickle"):
        candidate_of(pth, FACTS)
    with pytest.raises(ReleaseError, match="is not a folder"):
        candidate_of(own / "config.json", FACTS)


def test_nothing_is_replaced(own: Path, tmp_path: Path) -> None:
    candidate, out = candidate_of(own, FACTS), tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    for target in (out, own / "config.json"):
        with pytest.raises(ReleaseError, match="already exists, and a release is never replaced"):
            make_release(candidate, target, KEY, reach=REACH)
    with pytest.raises(ReleaseError, match="is not a folder; make it first"):
        make_release(candidate, tmp_path / "no" / "where", KEY, reach=REACH)
    (out / "mine").unlink()
    make_release(candidate, out, KEY, reach=REACH)  # an empty folder is none


def test_a_change_meanwhile_leaves_nothing(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate, hashing = candidate_of(own, FACTS), make.make_torrent

    def meddled(*args: Any, **options: Any) -> Any:
        made = hashing(*args, **options)
        weights = own / "model.safetensors"
        os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
        return made

    monkeypatch.setattr(make, "make_torrent", meddled)
    with pytest.raises(ReleaseError, match=r"model\.safetensors was changed while it was released"):
        make_release(candidate, tmp_path / "out", KEY, reach=REACH, linked_from=1 << 20)
    assert sorted(os.listdir(tmp_path)) == ["story"]


def test_a_full_disk_leaves_nothing(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = candidate_of(own, FACTS)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(aside_room.shutil, "disk_usage", lambda _: usage._replace(free=1))
    with pytest.raises(CheckpointError, match="make room first"):
        make_release(candidate, tmp_path / "out", KEY, reach=REACH)
    assert sorted(os.listdir(tmp_path)) == ["story"]


def test_paths_of_a_machine_are_pointed_out(own: Path) -> None:
    training = {"base": "/home/me/base", "recipe": {"data": [{"path": "~/data"}, "C:\\data"], "rate": 3.0, "text": "a/b"}}
    (own / "mistral7b.json").write_text(json.dumps({"training": training}))
    candidate = candidate_of(own, FACTS)
    assert [note.rpartition(": ")[2] for note in candidate.notes] == ["/home/me/base", "~/data", "C:\\data"]
    assert candidate.manifest["base_model"] == "base"


def test_numbers_that_are_none(own: Path) -> None:
    (own / "mistral7b.json").write_text('{"training": {"loss": NaN}}')
    with pytest.raises(ReleaseError, match=r"mistral7b\.json holds a number or a text that JSON has no form for"):
        candidate_of(own, FACTS)
    with pytest.raises(ReleaseError):
        to_bytes({"training": "\ud800"})
    assert to_bytes({"b": "é", "a": 1}) == '{\n  "a": 1,\n  "b": "é"\n}\n'.encode()


def test_a_link_too_long_for_a_code(own: Path, tmp_path: Path) -> None:
    made = release(own, tmp_path / "out", reach=Reach(trackers=tuple(f"udp://{'t' * 50}{n}.example:1/" for n in range(50))))
    assert [note for note in made.notes if "too long for a QR code" in note]
    assert not (tmp_path / "out" / "story.svg").exists()


def test_a_missing_package_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(ReleaseError, match=r"a release needs the package libtorrent; pip install 'mistral7b\[release\]'"):
        refuse_target(tmp_path / "out")


def test_progress_by_stage(own: Path, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int]] = {}

    def at(stage: str, done: int, total: int) -> None:
        told[stage] = (done, total)

    make_release(candidate_of(own, FACTS, at), tmp_path / "out", KEY, reach=REACH, progress=at)
    assert list(told) == ["hashes", "finite", "copying", "pieces"]
    assert all(done == total for done, total in told.values())

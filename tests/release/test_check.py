"""A fetched folder against its manifest, its signature, the official hashes, and what file names promise."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mistral7b.checkpoint.manifest import MANIFEST, hash_files
from mistral7b.errors import ReleaseError
from mistral7b.release.check import Claim, check_folder, claim_of
from mistral7b.release.inspect import SIGNATURE
from mistral7b.variants import V01, VARIANTS
from tests.checkpoint import made
from tests.release.published import OTHER, SIGNER, STRANGER, release, signed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return release(tmp_path / "story")


def test_a_good_release(folder: Path) -> None:
    read: list[int] = []
    found = check_folder(folder, Claim(signed_by=SIGNER), read=read.append)
    assert [(check.name, check.status) for check in found.checks] == [
        ("manifest", "pass"), ("signature", "pass"), ("official", "skip"),
    ]  # fmt: skip
    assert found.signer == SIGNER
    assert found.files == hash_files(sorted(folder.iterdir()))
    assert sum(read) == sum(path.stat().st_size for path in folder.iterdir())


def test_hashes_taken_on_the_way_are_not_taken_again(folder: Path) -> None:
    taken = hash_files([folder / "model.safetensors"])
    read: list[int] = []
    check_folder(folder, Claim(), hashed=taken, read=read.append)
    assert sum(read) == sum(path.stat().st_size for path in folder.iterdir() if path.name not in taken)


def test_an_unknown_signer_is_told_and_never_trusted(folder: Path) -> None:
    signature = check_folder(folder, Claim()).checks[1]
    assert signature.status == "skip"
    assert "unknown" in signature.detail
    assert SIGNER in signature.detail
    with pytest.raises(ReleaseError, match=f"is signed by {SIGNER}, not by {STRANGER}".replace("+", r"\+")):
        check_folder(folder, Claim(signed_by=STRANGER))
    (folder / SIGNATURE).unlink()
    assert check_folder(folder, Claim()).checks[1].detail == "it has none: nothing says who made it"
    with pytest.raises(ReleaseError, match="is not signed"):
        check_folder(folder, Claim(signed_by=SIGNER))
    (folder / MANIFEST).unlink()
    with pytest.raises(ReleaseError, match=r"there is no manifest\.json that could be signed"):
        check_folder(folder, Claim(signed_by=SIGNER))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _swap(folder: Path) -> None:
    tokenizer, card = folder / "tokenizer.model.v3", folder / "README.md"
    kept = card.read_bytes()
    card.write_bytes(tokenizer.read_bytes())
    tokenizer.write_bytes(kept)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: _flip(folder / "model.safetensors"), "model.safetensors is changed: sha256"),
        (_swap, r"README.md has [0-9,]+ bytes where .* 1 more: tokenizer.model.v3"),
        (lambda folder: (folder / "README.md").unlink(), "README.md is missing"),
        (lambda folder: (folder / "params.json").write_text("{}"), "params.json is not in manifest.json"),
        (
            lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b"\n"),
            "is not what ed25519:.* signed",
        ),
        (lambda folder: _flip(folder / SIGNATURE), "is no ed25519 signature|is not what"),
        (lambda folder: signed(folder, OTHER), "is signed by"),
    ],
    ids=["byte", "swap", "missing", "stranger", "manifest", "signature", "signer"],
)
def test_what_differs_is_named(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(folder)
    with pytest.raises(ReleaseError, match=said):
        check_folder(folder, Claim(signed_by=SIGNER))


@pytest.mark.parametrize("name", ["../evil.json", "/etc/passwd", "a/b.json", "..", "con.json\n"])
def test_a_manifest_that_names_paths_outside(folder: Path, name: str) -> None:
    value = json.loads((folder / MANIFEST).read_text())
    value["files"][name] = {"sha256": "0" * 64, "size": 1}
    (folder / MANIFEST).write_text(json.dumps(value))
    (folder / SIGNATURE).unlink()
    with pytest.raises(ReleaseError, match="is no plain file name"):
        check_folder(folder, Claim())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("model.safetensors", pickle.dumps({"a": 1}), "a pickle under the name of safetensors"),
        ("model.safetensors", b"PK\x03\x04" + bytes(100), "a pickle under the name of safetensors"),
        ("model.safetensors", (1 << 40).to_bytes(8, "little") + b"{}", "no safetensors file"),
        ("model.safetensors", b"", "no safetensors file"),
        ("model.gguf", pickle.dumps({"a": 1}), "no GGUF file"),
        ("config.json", b"[1]", "no JSON object"),
        ("config.json", b"[" * 100_000, "no JSON object"),
        ("consolidated.00.pth", b"PK", "a pickle, which can run code"),
        ("pytorch_model.bin", b"PK", "a pickle, which can run code"),
        ("setup.py", b"", "no part of a model"),
        (".hidden.json", b"{}", "hidden"),
    ],
)
def test_contents_that_are_not_what_the_name_says(folder: Path, name: str, data: bytes, said: str) -> None:
    (folder / name).write_bytes(data)
    signed(folder)
    with pytest.raises(ReleaseError, match=said):
        check_folder(folder, Claim())


def test_links_and_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/passwd")
    with pytest.raises(ReleaseError, match=r"README\.md is a link, a folder or a device"):
        check_folder(folder, Claim())
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    with pytest.raises(ReleaseError, match=r"README\.md is a link, a folder or a device"):
        check_folder(folder, Claim())


def test_official_hashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tokenizer.model.v3").rename(folder / "tokenizer.model")
    signed(folder)
    with pytest.raises(ReleaseError, match=r"tokenizer\.model is not the published file of v0\.3-instruct: sha256"):
        check_folder(folder, Claim(variant="v0.3-instruct"))
    true = hash_files([folder / "tokenizer.model"])["tokenizer.model"].sha256
    monkeypatch.setitem(VARIANTS, "v0.3-instruct", replace(VARIANTS["v0.3-instruct"], sha256={"tokenizer.model": true}))
    official = check_folder(folder, Claim(variant="v0.3-instruct")).checks[2]
    assert (official.status, official.detail) == ("pass", "v0.3-instruct: tokenizer.model as published")
    monkeypatch.setitem(VARIANTS, "v0.3-instruct", replace(VARIANTS["v0.3-instruct"], sha256={}))
    assert check_folder(folder, Claim(variant="v0.3-instruct")).checks[2].status == "skip"


def test_weights_that_are_mostly_the_published_ones_convict_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.hf_sharded(tmp_path, made.weights())
    assert (folder / "config.json").is_file()
    shards = hash_files(sorted(folder.glob("*.safetensors")))
    first, second = sorted(shards)[:2]
    variant = replace(VARIANTS["v0.1"], config=made.SMALL, sha256={first: shards[first].sha256, second: "0" * 64})
    assert variant.config != V01
    monkeypatch.setitem(VARIANTS, "v0.1", variant)
    with pytest.raises(ReleaseError, match=f"{second} is not the published file of v0.1"):
        check_folder(folder, Claim())


def test_a_part_of_a_release(folder: Path) -> None:
    for name in ("README.md", "config.json"):
        (folder / name).unlink()
    found = check_folder(folder, claim_of(signed_by=None, variant=None, only=["safetensors", "tokenizer.*"]))
    assert found.checks[0].detail == "2 of 4 files are as it states"
    assert found.checks[2].detail == "not a whole model by itself"
    (folder / "model.safetensors").unlink()
    with pytest.raises(ReleaseError, match=r"model\.safetensors is missing"):
        check_folder(folder, claim_of(signed_by=None, variant=None, only=["safetensors"]))


def test_claims_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(f"{SIGNER}\n")
    assert claim_of(signed_by=str(tmp_path / "key.pub"), variant="V0.1", only=[]) == Claim(SIGNER, "v0.1")
    with pytest.raises(ReleaseError, match=r"there is no published model 'v9'; they are v0\.1, "):
        claim_of(signed_by=None, variant="v9", only=[])
    with pytest.raises(ReleaseError, match="is neither a public key"):
        claim_of(signed_by="nobody", variant=None, only=[])


def test_a_file_that_was_not_asked_for_is_held_against_the_manifest_too(folder: Path) -> None:
    """As a tar brings it, whatever --only says."""
    _flip(folder / "README.md")
    with pytest.raises(ReleaseError, match=r"README\.md is changed"):
        check_folder(folder, Claim(only=("*.safetensors",)))

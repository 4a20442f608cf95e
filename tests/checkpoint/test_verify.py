from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mistral7b.checkpoint import folder as folders
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.gguf import to_gguf_name
from mistral7b.checkpoint.identity import identify, known_tokenizer
from mistral7b.checkpoint.manifest import FileHash, write_manifest
from mistral7b.checkpoint.report import Report
from mistral7b.checkpoint.spm import BYTE, CONTROL, NORMAL, UNKNOWN, Piece
from mistral7b.checkpoint.verify import CHECKS, verify
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TOKENIZER_SHA256, V01, VARIANTS
from tests.checkpoint import made, made_gguf

WRITERS = {"consolidated": made.consolidated, "pth": made.pth, "hf": made.hf, "hf_sharded": made.hf_sharded}
V1_SIZE = replace(made.SMALL, vocab_size=32000)


def status(report: Report) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}


def detail(report: Report, name: str) -> str:
    return next(check.detail for check in report.checks if check.name == name)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_sound_model(tmp_path: Path, kind: str) -> None:
    folder = WRITERS[kind](tmp_path, made.weights())
    report = verify(folder)
    assert report.ok
    assert status(report) == dict.fromkeys(CHECKS, "pass") | {"tokenizer": "skip", "hashes": "skip"}
    assert "rope_theta 10,000 from" in detail(report, "config")
    assert "sliding_window 16" in detail(report, "config")
    assert "all 21 tensors" in detail(report, "tensors")
    assert "own model" in detail(report, "variant")
    assert (report.config, report.variant, dict(report.dtypes)) == (made.SMALL, None, {"bfloat16": 21})
    assert set(report.files) == {path.name for path in folder.iterdir()}
    for name, found in report.files.items():
        raw = (folder / name).read_bytes()
        assert found == FileHash(hashlib.sha256(raw).hexdigest(), len(raw))


def test_a_gguf_file(tmp_path: Path) -> None:
    report = verify(made_gguf.small(tmp_path / "model.gguf"))
    assert report.ok
    assert list(report.files) == ["model.gguf"]
    assert report.name == "model.gguf"
    assert detail(report, "config").startswith("read GGUF header")


def test_a_report_on_a_gguf_tells_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokenizer is rebuilt into a cache folder, which opening it notes."""
    pieces = [Piece("<unk>", 0, UNKNOWN), Piece("<s>", 0, CONTROL), Piece("</s>", 0, CONTROL)]
    pieces += [Piece(f"<0x{i:02X}>", 0, BYTE) for i in range(256)]
    pieces += [Piece(text, -rank, NORMAL) for rank, text in enumerate(["▁t", *"▁abcdefghijklmnopqrstuvwxyz"])]
    config = replace(made.SMALL, vocab_size=len(pieces))
    tokens = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece.text for piece in pieces],
        "tokenizer.ggml.scores": [float(piece.score) for piece in pieces],
        "tokenizer.ggml.token_type": [int(piece.type) for piece in pieces],
    }
    tensors = {to_gguf_name(name): tensor.float().numpy() for name, tensor in made.weights(config).items()}
    path = made_gguf.write(tmp_path / "model.gguf", tensors, made_gguf.metadata(config) | tokens)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    report = verify(path)
    assert report.ok, report
    assert any("kept as tokenizer.model.v1" in note for note in report.notes)
    assert str(tmp_path) not in json.dumps(report.to_json())


def test_the_report_is_json(tmp_path: Path) -> None:
    folder = made.hf(tmp_path, made.weights())
    (folder / "mistral7b.json").write_text(json.dumps({"trained_context": 64, "training": {"steps": 7}}))
    write_manifest(folder)
    report = verify(folder)
    read = json.loads(json.dumps(report.to_json()))
    assert report.training == read["training"] == {"steps": 7}
    assert read["ok"] is True
    assert [check["name"] for check in read["checks"]] == list(CHECKS)
    assert read["files"]["config.json"] == report.files["config.json"].to_json()
    assert read["config"]["sliding_window"] == 16


def test_progress_names_the_check(tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}
    folder = made.hf(tmp_path, made.weights())
    verify(folder, progress=lambda check, done, total: seen.update({check: (done, total)}))
    n_bytes, weights = sum(path.stat().st_size for path in folder.iterdir()), 2 * made.SMALL.n_params
    assert seen == {"hashes": (n_bytes, n_bytes), "finite": (weights, weights)}


# ── hashes ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), last=st.booleans())
def test_any_flipped_bit_is_found_and_its_file_named(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, last: bool
) -> None:
    folder = made.hf_sharded(tmp_path_factory.mktemp("flip"), made.weights())
    write_manifest(folder)
    file = folder / f"model-0000{3 if last else 1}-of-00003.safetensors"
    data = bytearray(file.read_bytes())
    data[position % len(data)] ^= 1 << bit
    file.write_bytes(data)
    report = verify(folder)
    assert not report.ok
    assert status(report)["hashes"] == "fail"
    assert detail(report, "hashes").startswith(f"{file.name} is changed: sha256 ")


def test_without_a_manifest_a_flipped_data_bit_is_nobodys_fault(tmp_path: Path) -> None:
    """Why manifests exist: the weights stay finite, well-named and well-shaped."""
    file = made.hf(tmp_path, made.weights()) / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    assert verify(tmp_path).ok


def test_missing_longer_and_unlisted_files(tmp_path: Path) -> None:
    folder = made.hf(tmp_path, made.weights())
    (folder / "README.md").write_text("x")
    (folder / "tokenizer.json").write_text("{}")
    write_manifest(folder)
    assert detail(verify(folder), "hashes") == "4 files are as manifest.json states"
    (folder / "LICENSE").write_text("free")
    (folder / "notes.txt").write_text("no part of a model")
    assert detail(verify(folder), "hashes") == "4 files are as manifest.json states; not in it: LICENSE"
    (folder / "README.md").unlink()
    (folder / "tokenizer.json").write_text("{ }")
    report = verify(folder)
    assert "README.md is missing; and 1 more: tokenizer.json; fetch it again" in detail(report, "hashes")
    assert status(report)["tensors"] == "pass", "hashes do not stand in the way of the rest"


def test_a_manifest_given_by_hand(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    folder = made.hf(tmp_path / "model", made.weights())
    (folder / "notes.txt").write_text("signed too")
    entry = {name: found.to_json() for name, found in verify(folder).files.items()}
    raw = (folder / "notes.txt").read_bytes()
    entry["notes.txt"] = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)}
    given = tmp_path / "elsewhere.json"
    given.write_text(json.dumps({"files": entry}))
    assert detail(verify(folder, manifest=given), "hashes") == "3 files are as elsewhere.json states"
    assert status(verify(folder, manifest=given, hashes=False))["hashes"] == "skip"
    assert verify(folder, hashes=False).files == {}
    report = verify(folder, manifest=tmp_path / "nowhere.json")
    assert status(report)["hashes"] == "fail"
    assert "cannot be read" in detail(report, "hashes")


def test_one_gguf_of_a_manifest(tmp_path: Path) -> None:
    path = made_gguf.small(tmp_path / "a.gguf")
    made_gguf.small(tmp_path / "b.gguf")
    assert status(verify(path))["hashes"] == "skip"
    write_manifest(tmp_path)
    assert status(verify(path))["hashes"] == "pass"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert detail(verify(path), "hashes").startswith("a.gguf is changed")
    other = tmp_path / "c.gguf"
    shutil.copy(tmp_path / "b.gguf", other)
    assert status(verify(other))["hashes"] == "skip"
    assert status(verify(other, manifest=tmp_path / "manifest.json"))["hashes"] == "fail"


# ── finite ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", WRITERS)
def test_the_first_bad_tensor_is_named_and_counted(tmp_path: Path, kind: str) -> None:
    whole = made.weights()
    whole["layers.1.attention.wk.weight"][0, :3] = torch.nan
    whole["layers.1.attention.wk.weight"][2, 5] = -torch.inf
    whole["norm.weight"][7] = torch.inf
    report = verify(WRITERS[kind](tmp_path, whole))
    assert not report.ok
    assert detail(report, "finite") == (
        "layers.1.attention.wk.weight holds 3 NaN and 1 Inf of 512 weights; 1 more tensors are not finite"
    )
    assert status(report)["tensors"] == "pass"


# ── the variant ───────────────────────────────────────────────────────────────────────────────────────────────────────
def like_v03(names: dict[str, str]) -> tuple[folders.Checkpoint, dict[str, FileHash]]:
    shared = [VARIANTS["v0.3"], VARIANTS["v0.3-instruct"]]
    checkpoint = folders.Checkpoint(
        path=Path("m"), format="hf", config=shared[0].config, variant=shared[0], candidates=shared, tokenizer=None,
        max_positions=None, trained_context=None,
    )  # fmt: skip
    return checkpoint, {name: FileHash(sha, 1) for name, sha in names.items()}


def test_hashes_say_which_variant_it_is() -> None:
    official = {name: sha for name, sha in VARIANTS["v0.3-instruct"].sha256.items() if name.startswith("model-")}
    found = identify(*like_v03(official))
    assert found.variant is VARIANTS["v0.3-instruct"], "against the name, which says base"
    assert not found.faults
    assert "3 weight files are the published ones" in found.detail


def test_one_changed_shard_among_published_ones_is_damage() -> None:
    official = {name: sha for name, sha in VARIANTS["v0.3-instruct"].sha256.items() if name.startswith("model-")}
    found = identify(*like_v03(official | {"model-00002-of-00003.safetensors": "0" * 64}))
    assert found.variant is VARIANTS["v0.3-instruct"]
    assert found.faults == ("model-00002-of-00003.safetensors is not the published file of v0.3-instruct",)


def test_shards_of_the_same_names_and_other_contents_are_another_model() -> None:
    found = identify(*like_v03({f"model-0000{i}-of-00003.safetensors": str(i) * 64 for i in (1, 2, 3)}))
    assert (found.variant, found.faults) == (VARIANTS["v0.3"], ())
    assert "no official hash of these weights is known" in found.detail
    assert "hashes were not looked at" in identify(*like_v03({})).detail


# ── the tokenizer ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("version", "vocab"), [("v1", 32000), ("v3", 32768)])
def test_published_tokenizers_are_known(tmp_path: Path, version: str, vocab: int) -> None:
    config = replace(made.SMALL, vocab_size=vocab)
    folder = made.consolidated(tmp_path, made.weights(config), config)
    shutil.copy(Tokenizer.published(version).path, folder / "tokenizer.model")  # type: ignore[arg-type]
    report = verify(folder)
    assert report.ok
    assert detail(report, "tokenizer") == f"tokenizer.model: {vocab:,} ids, the published {version} file"
    assert known_tokenizer(TOKENIZER_SHA256["v3"]) == "v3"
    assert known_tokenizer("0" * 64) is None


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    folder = made.consolidated(tmp_path, made.weights())
    shutil.copy(Tokenizer.published("v1").path, folder / "tokenizer.model")
    report = verify(folder)
    assert not report.ok
    assert "the tokenizer knows 32000 ids, the model 64" in detail(report, "tokenizer")
    assert status(report)["finite"] == "pass"
    forced = verify(folder, force=True)
    assert forced.ok
    assert "forced: the tokenizer knows" in detail(forced, "tokenizer")


def test_a_changed_tokenizer_beside_a_published_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One score in the file is another: it still loads, and encodes otherwise."""
    folder = made.consolidated(tmp_path, made.weights(V1_SIZE), V1_SIZE)
    data = bytearray(Tokenizer.published("v1").path.read_bytes())
    data[400_000] ^= 1
    (folder / "tokenizer.model").write_bytes(data)
    assert "tokenizer of its own" in detail(verify(folder), "tokenizer")
    shared = SimpleNamespace(**{**vars(open_checkpoint(folder)), "candidates": [VARIANTS["v0.1"]], "variant": VARIANTS["v0.1"]})
    monkeypatch.setattr("mistral7b.checkpoint.verify.open_checkpoint", lambda *_, **__: shared)
    report = verify(folder)
    assert "tokenizer.model is not a published tokenizer, though the architecture is" in detail(report, "tokenizer")
    assert verify(folder, force=True).ok


# ── what does not open ────────────────────────────────────────────────────────────────────────────────────────────────
class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("evil-was-run",)


def _truncate(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])


def _lose_a_tensor(folder: Path) -> None:
    save_file({n: t for n, t in made.in_hf(made.weights()).items() if n != "lm_head.weight"}, folder / "model.safetensors")


def _add_a_tensor(folder: Path) -> None:
    save_file(made.in_hf(made.weights()) | {"a\nb\x1b[2J": torch.ones(1)}, folder / "model.safetensors")


def _become_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"norm.weight": Evil()}, folder / "consolidated.00.pth")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _manifest(folder: Path, value: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(value))


# What happens to the folder, the check that fails, and what it says.
FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (_truncate, "tensors", "truncated or damaged"),
    "no config": (lambda f: (f / "config.json").unlink(), "config", "neither params.json nor config.json"),
    "unknown key": (lambda f: made.write_config(f, experts=8), "config", "unknown key 'experts'"),
    "another model's config": (lambda f: made.write_config(f, V01), "config", "the config says vocabulary 32000"),
    "missing tensor": (_lose_a_tensor, "tensors", "the weights lack output.weight"),
    "line ends in a name": (_add_a_tensor, "tensors", "the weights hold a b [2J"),
    "pickle": (_become_a_pickle, "tensors", "contains more than tensors and could run code"),
    "tekken": (lambda f: (f / "tekken.json").write_text("{}"), "tokenizer", "has only tekken.json"),
    "broken tokenizer": (lambda f: (f / "tokenizer.model").write_bytes(b"\0nothing"), "tokenizer", "tokenizer.model"),
    "manifest is a list": (lambda f: _manifest(f, []), "hashes", "must hold one JSON object"),
    "manifest points elsewhere": (lambda f: _manifest(f, {"files": {"../x": {}}}), "hashes", "'../x', which is no plain file"),
    "manifest without sizes": (lambda f: _manifest(f, {"files": {"x": {}}}), "hashes", "gives x no sha256 and size"),
    "empty": (_empty, "tensors", "is not a model"),
    "nothing": (shutil.rmtree, "tensors", "does not exist"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_a_failed_check_of_one_line(tmp_path: Path, fault: str) -> None:
    (tmp_path / "model").mkdir()
    folder = made.hf(tmp_path / "model", made.weights())
    spoil, check, words = FAULTS[fault]
    spoil(folder)
    report = verify(folder)
    assert not report.ok
    assert [c.name for c in report.checks] == list(CHECKS)
    assert status(report)[check] == "fail"
    assert words in detail(report, check)
    assert all("\n" not in c.detail and c.detail for c in report.checks)
    assert not Path("evil-was-run").exists()
    assert str(tmp_path) not in json.dumps(report.to_json()), "a report tells nothing of the machine"


def test_what_could_not_be_checked_says_why(tmp_path: Path) -> None:
    made.hf(tmp_path, made.weights())
    _truncate(tmp_path)
    report = verify(tmp_path)
    assert status(report)["finite"] == "skip"
    assert detail(report, "finite") == "not checked, because tensors failed"
    assert status(report)["hashes"] == "skip"
    assert set(report.files) == {"config.json", "model.safetensors"}, "hashed all the same, to be compared"


def test_two_formats_are_noted(tmp_path: Path) -> None:
    made.hf(tmp_path, made.weights())
    made.consolidated(tmp_path, made.weights())
    report = verify(tmp_path)
    assert report.ok
    assert detail(report, "formats") == (
        "the weights stand there 2 times, as consolidated.safetensors, model.safetensors: one is enough"
    )


def test_force_notes_a_contradiction(tmp_path: Path) -> None:
    rows = torch.ones(66, 32, dtype=torch.bfloat16)
    made.consolidated(tmp_path, made.weights() | {"tok_embeddings.weight": rows, "output.weight": rows.clone()})
    assert status(verify(tmp_path))["config"] == "fail"
    report = verify(tmp_path, force=True)
    assert report.ok
    assert "forced: the config says vocabulary 64" in detail(report, "config")


def test_v01_is_named_before_its_weights_are_there(tmp_path: Path) -> None:
    made.write_params(tmp_path, V01)
    save_file({"norm.weight": torch.ones(4096)}, tmp_path / "consolidated.safetensors")
    report = verify(tmp_path)
    assert report.variant == "v0.1"
    assert status(report)["variant"] == "pass"
    assert "lack tok_embeddings.weight" in detail(report, "tensors")
    assert status(report)["finite"] == "skip"

"""`release`, and `verify --signed-by` of what it made."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from mistral7b.errors import ReleaseError
from mistral7b.release.keys import fingerprint, new_key_file, public_text, read_key
from tests.cli.conftest import Run

STATED = ("--licence", "Apache-2.0", "--date", "2023-09-27")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key_file(tmp_path / "my.key")
    return tmp_path / "my.key"


@pytest.fixture
def released(run: Run, model: Path, key: Path, tmp_path: Path) -> Path:
    """The folder to seed."""
    assert run("release", model, "--out", tmp_path / "out", "--key", key, *STATED).status == 0
    return tmp_path / "out" / "talkative"


def signature_line(out: str) -> str:
    return next(line for line in out.splitlines() if line.split()[1:2] == ["signature"])


def test_what_is_shown(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("release", model, "--out", tmp_path / "out", "--new-key", tmp_path / "new.key", *STATED)
    assert (ran.status, ran.err) == (0, "")
    key = public_text(read_key(tmp_path / "new.key"))
    magnet = (tmp_path / "out" / "talkative.magnet").read_text().strip()
    table, link, code = ran.out.split("\n\n")
    shown = {line.split(maxsplit=2)[0]: line.split(maxsplit=1)[1] for line in table.splitlines()}
    assert shown["name"] == "talkative"
    assert shown["created"] == "2023-09-27T00:00:00Z"
    assert f"signed by    {key}" in table
    assert f"fingerprint  {fingerprint(key)}" in table
    assert shown["seed"] == str(tmp_path / "out" / "talkative")
    assert link == magnet
    assert {len(line) for line in code.splitlines()} == {len(code.splitlines()[0])}
    assert set(code) == set("█▀▄ \n")


def test_the_object(run: Run, model: Path, key: Path, tmp_path: Path) -> None:
    reach = (
        "--tracker",
        "udp://t.example:1337",
        "--web-seed",
        "https://h.example",
        "--peer",
        "127.0.0.2:7000",
        "--piece-size",
        "64K",
    )
    told = json.loads(
        run("release", model, "--out", tmp_path / "out", "--key", key, *STATED, *reach, "--name", "tale", "--json").out
    )
    assert told["path"] == str(tmp_path / "out" / "tale")
    assert Path(told["torrent"]).read_bytes().startswith(b"d8:announce20:udp://t.example:1337")
    assert told["magnet"] == (tmp_path / "out" / "tale.magnet").read_text().strip()
    assert told["magnet"].startswith(
        f"magnet:?xt=urn:btih:{told['info_hash_v1']}&xt=urn:btmh:1220{told['info_hash_v2']}&dn=tale&tr=udp%3A%2F%2Ft.example%3A1337"
        "&ws=https%3A%2F%2Fh.example%2F&x.pe=127.0.0.2:7000"
    )
    assert told["piece_size"] == 1 << 16
    assert told["public_key"] == public_text(read_key(key))
    assert told["manifest"] == json.loads((tmp_path / "out" / "tale" / "manifest.json").read_bytes())
    assert told["notes"] == []


def test_a_dry_run_writes_nothing(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("release", model, "--out", tmp_path / "out", "--new-key", tmp_path / "new.key", *STATED, "--dry-run")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("name     talkative\n")
    assert "magnet" not in ran.out
    assert json.loads(run("release", model, "--out", tmp_path / "out", *STATED, "--dry-run", "--json").out)["notes"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_fails_is_refused_before_a_key_is_made(run: Run, model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(model, bad)
    (bad / "model-00001-of-00003.safetensors").unlink()
    asked = ("release", bad, "--out", tmp_path / "out", "--new-key", tmp_path / "new.key", *STATED)
    run(*asked).fails_with("is not released, because verify fails at tensors")
    assert list(tmp_path.iterdir()) == [bad]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--key", "a", "--new-key", "b"), "give one of them"),
        (("--key", "nowhere.key"), "the key nowhere.key cannot be read"),
        (("--new-key", "nowhere/new.key"), "nowhere is not a folder"),
        (("--dry-run", "--piece-size", "3M"), "'3M' is no piece size"),
        (("--dry-run", "--tracker", "t.example"), "the tracker 't.example' is no URL"),
        (("--dry-run", "--private"), "nobody could find a private torrent"),
        (("--dry-run", "--licence", "x", "--name", "CON"), "'CON' is no name for a release"),
    ],
)
def test_a_request_that_makes_no_sense(run: Run, model: Path, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    run("release", model, "--out", tmp_path / "out", *args).fails_with(said)
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_it_makes_its_own_once(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("MISTRAL7B_HOME", str(home))
    assert run("release", model, "--out", tmp_path / "none", "--dry-run").status == 0
    assert not home.exists()
    first = run("release", model, "--out", tmp_path / "first", "--json")
    assert "keep a copy" in first.err
    second = run("release", model, "--out", tmp_path / "second", "--json")
    assert (second.status, second.err) == (0, "")
    signers = {json.loads(ran.out)["public_key"] for ran in (first, second)}
    assert signers == {public_text(read_key(home / "release.key"))}
    assert "no licence is stated" in json.loads(first.out)["notes"][0]
    assert json.loads(first.out)["manifest"]["licence"] is None


def test_signed_by_the_one_that_was_asked_for(run: Run, released: Path, key: Path) -> None:
    text = public_text(read_key(key))
    for signer in (text, released.parent / "talkative.pub"):
        ran = run("verify", released, "--signed-by", signer)
        assert (ran.status, ran.err) == (0, "")
        assert signature_line(ran.out) == f"✓  signature  manifest.json is signed by {text} ({fingerprint(text)})"
    ran = run("verify", released)
    assert ran.status == 0
    assert signature_line(ran.out).startswith(f"–  signature  signed by {text}, which nobody vouches for here")


def test_signed_by_another(run: Run, released: Path, tmp_path: Path) -> None:
    new_key_file(tmp_path / "other.key")
    other = public_text(read_key(tmp_path / "other.key"))
    ran = run("verify", released, "--signed-by", other)
    assert (ran.status, ran.err) == (2, "mistral7b: error: talkative fails 1 of 8 checks: signature\n")
    assert signature_line(ran.out).startswith("✗  signature  manifest.json is signed by ed25519:")
    assert f", not by {other}" in ran.out
    run("verify", released, "--signed-by", "nobody").fails_with("'nobody' is neither a public key")


def test_a_manifest_kept_elsewhere(run: Run, released: Path, tmp_path: Path) -> None:
    """The signed pair in a safe place; what lies beside the weights is not asked."""
    for name in ("manifest.json", "manifest.json.sig"):
        shutil.move(released / name, tmp_path / name.replace("manifest", "kept"))
    told = json.loads(
        run("verify", released, "--manifest", tmp_path / "kept.json", "--signed-by", f"{released}.pub", "--json").out
    )
    assert told["ok"] is True
    assert told["checks"][-1] | {"detail": ""} == {"name": "signature", "status": "pass", "detail": ""}
    ran = run("verify", released, "--signed-by", f"{released}.pub")
    assert ran.status == 2
    assert "manifest.json is not signed: there is no manifest.json.sig beside it" in signature_line(ran.out)


@pytest.mark.parametrize("harm", ["a byte", "swapped", "manifest", "signature", "added"])
def test_whatever_is_changed_is_named(run: Run, released: Path, harm: str) -> None:
    first = released / "model-00001-of-00003.safetensors"
    failed, said = "hashes", first.name
    match harm:
        case "a byte":
            data = bytearray(first.read_bytes())
            data[-1] ^= 1
            first.unlink()  # it may be one file with the model's own
            first.write_bytes(data)
        case "swapped":
            shutil.copyfile(released / "README.md", released / "other")
            (released / "README.md").write_bytes(b"x" * (released / "other").stat().st_size)
            said = "README.md is changed"
        case "manifest":
            text = (released / "manifest.json").read_text()
            (released / "manifest.json").write_text(text.replace("Apache-2.0", "Apache-2.1"))
            failed, said = "signature", "one of the two was changed"
        case "signature":
            value = json.loads((released / "manifest.json.sig").read_text())
            (released / "manifest.json.sig").write_text(json.dumps(value | {"signature": value["signature"][::-1]}))
            failed, said = "signature", "is no ed25519 signature"
        case _:
            (released / "generation_config.json").write_text('{"eos_token_id": 5}')
            failed, said = "signature", "generation_config.json is not among the files that"
    ran = run("verify", released, "--signed-by", f"{released}.pub")
    assert (ran.status, ran.err) == (2, f"mistral7b: error: talkative fails 1 of 8 checks: {failed}\n")
    assert said in next(line for line in ran.out.splitlines() if line.split()[1:2] == [failed])


def test_hashes_are_what_is_signed(run: Run, released: Path) -> None:
    run("verify", released, "--signed-by", f"{released}.pub", "--no-hashes").fails_with("leave out --no-hashes")


def test_a_released_model_answers_as_before(run: Run, model: Path, released: Path) -> None:
    wanted = ("generate", "Once upon a time", "-n", 8, "--greedy", "-q")
    assert run(*wanted, "-m", released).out == run(*wanted, "-m", model).out


def test_a_terminal_without_blocks(run: Run, model: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(*_: object, **__: object) -> list[str]:
        raise ReleaseError("too long")

    monkeypatch.setattr("mistral7b.release.qr.blocks", too_long)
    ran = run("release", model, "--out", tmp_path / "out", "--key", key, *STATED)
    assert ran.status == 0
    assert ran.out.rstrip().endswith((tmp_path / "out" / "talkative.magnet").read_text().strip())


def test_without_the_extra_an_unasked_signature_is_not_looked_at(
    run: Run, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    ran = run("verify", released)
    assert (ran.status, ran.err) == (0, "")
    assert signature_line(ran.out).startswith("–  signature  not looked at: that needs the package cryptography")
    ran = run("verify", released, "--signed-by", f"{released}.pub")
    assert ran.status == 2
    assert "pip install 'mistral7b[release]'" in signature_line(ran.out)


def test_the_folder_this_runs_in_is_refused_before_a_key_is_made(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("release", model, "--out", ".", "--new-key", tmp_path / "new.key", *STATED).fails_with("is the folder this runs in")
    assert list(tmp_path.iterdir()) == []

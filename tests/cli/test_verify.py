"""`verify`: a table for people, an object for scripts, an exit status for both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run

CHECKS = ["config", "variant", "tokenizer", "tensors", "finite", "hashes", "formats"]


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """A copy that a test may harm."""
    shutil.copytree(model, tmp_path / "own")
    return tmp_path / "own"


def corrupt(model: Path) -> None:
    """One flipped bit in the weights' data, which no header betrays."""
    shard = model / "model-00001-of-00003.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)


def test_a_good_model(run: Run, model: Path) -> None:
    ran = run("verify", model)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == CHECKS
    assert {line[0] for line in lines[:-1]} == {"✓", "–"}
    assert lines[-1] == "talkative: 6 passed, 1 skipped"
    assert len({line.index(line.split(maxsplit=2)[2]) for line in lines[:-1]}) == 1, "details in one column"


def test_the_object(run: Run, model: Path) -> None:
    told = json.loads(run("verify", model, "--json", "--no-hashes").out)
    assert told["ok"] is True
    assert [check["name"] for check in told["checks"]] == CHECKS
    assert told["files"] == {}


def test_a_manifest_betrays_a_flipped_bit(run: Run, own: Path, tmp_path: Path) -> None:
    written = run("verify", own, "--write-manifest")
    assert (written.status, written.out) == (0, f"{own / 'manifest.json'}: sha256 and size of 6 files\n")
    assert run("verify", own).status == 0
    shutil.move(own / "manifest.json", tmp_path / "signed.json")
    corrupt(own)
    assert run("verify", own).status == 0
    ran = run("verify", own, "--manifest", tmp_path / "signed.json")
    assert ran.status == 2
    assert ran.err == "mistral7b: error: own fails 1 of 7 checks: hashes\n"
    assert "✗  hashes     model-00001-of-00003.safetensors is changed" in ran.out
    told = json.loads(run("verify", own, "--write-manifest", "--json").out)
    assert len(told["files"]) == 6


def test_oracles_of_ones_own(run: Run, model: Path, tmp_path: Path) -> None:
    greedy = json.loads(run("generate", "--ids", "1,2,3", "-m", model, "-n", 4, "--greedy", "--json").out)["token_ids"]
    oracles, report = tmp_path / "oracles.json", tmp_path / "report.json"
    right = {"name": "right", "kind": "greedy_ids", "ids": [1, 2, 3], "expected": greedy}
    oracles.write_text(json.dumps({"oracles": [right]}))
    wanted = ("verify", model, "--oracles", "--oracle-file", oracles, "--report", report)
    ran = run(*wanted)
    assert (ran.status, ran.err) == (0, "")
    assert "✓  right" in ran.out
    assert json.loads(report.read_text())["oracles"]["results"][0]["found"] == greedy
    oracles.write_text(json.dumps({"oracles": [right, right | {"name": "wrong", "expected": [0, 0, 0, 0]}]}))
    ran = run(*wanted, "--json")
    assert ran.status == 2
    assert ran.err == "mistral7b: error: talkative fails 1 of 9 checks: wrong\n"
    assert json.loads(ran.out) == json.loads(report.read_text())


def test_a_model_that_fails_is_not_asked(run: Run, own: Path) -> None:
    (own / "model-00001-of-00003.safetensors").unlink()
    ran = run("verify", own, "--oracles")
    assert ran.status == 2
    assert ran.err.splitlines()[0] == "the oracles were not asked, because a check failed"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--oracle-file", "x"), "belong to --oracles"),
        (("--ppl-file", "x"), "belong to --oracles"),
        (("--write-manifest", "--no-hashes"), "--write-manifest checks nothing"),
        (("--oracles", "--oracle-file", "nowhere.json"), "nowhere.json cannot be read"),
    ],
)
def test_a_request_that_makes_no_sense(run: Run, model: Path, args: tuple[str, ...], said: str) -> None:
    run("verify", model, *args).fails_with(said)


def test_the_machine_tells_which_kernels_run(run: Run) -> None:
    from mistral7b.kernels.native_room import best_instruction_set, instruction_sets

    ran = run("verify", "--machine")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(run("verify", "--machine", "--json").out)
    if best_instruction_set() is None:
        assert told["kernels"] == "torch"
        assert "no C++ compiler" in ran.out
        return
    assert [each["name"] for each in told["known"]] == [name for name, _, _ in instruction_sets()]
    assert told["instruction_set"] == best_instruction_set()
    assert ran.out.splitlines()[-1].startswith(f"native kernels run: {best_instruction_set()}, {told['threads']} thread")
    run("verify", "tiny", "--machine").fails_with("leave out MODEL")

"""Every kind of broken model: exit status 2, one line on stderr, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoint import made, made_gguf
from tests.cli.conftest import Run
from tests.cli.subprocesses import command

SHARD = "model-00002-of-00003.safetensors"


class Payload:
    """What a hostile checkpoint holds: unpickling it would make a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def whole(folder: Path) -> Path:
    folder.mkdir()
    return made.hf_sharded(folder, made.weights())


def truncated(folder: Path) -> None:
    shard = whole(folder) / SHARD
    shard.write_bytes(shard.read_bytes()[:-100])


def flipped_bit_in_header(folder: Path) -> None:
    shard = whole(folder) / SHARD
    data = bytearray(shard.read_bytes())
    data[8 + data[8:].index(b'"shape"') + 1] ^= 1
    shard.write_bytes(data)


def flipped_bit_in_header_length(folder: Path) -> None:
    shard = whole(folder) / SHARD
    data = bytearray(shard.read_bytes())
    data[6] ^= 0x80
    shard.write_bytes(data)


def missing_shard(folder: Path) -> None:
    (whole(folder) / SHARD).unlink()


def wrong_shapes(folder: Path) -> None:
    shard = whole(folder) / SHARD
    tensors = load_file(shard)
    name = next(name for name in tensors if name.endswith("gate_proj.weight"))
    save_file(tensors | {name: tensors[name][:-1].clone()}, shard)


def wrong_embeddings(folder: Path) -> None:
    made.write_config(whole(folder), replace(made.SMALL, vocab_size=65))


def unknown_key(folder: Path) -> None:
    made.write_config(whole(folder), num_experts=8)


def unknown_key_in_params(folder: Path) -> None:
    folder.mkdir()
    made.consolidated(folder, made.weights())
    made.write_params(folder, moe=8)


def config_that_is_not_json(folder: Path) -> None:
    (whole(folder) / "config.json").write_text("{")


def malicious_pth(folder: Path) -> None:
    folder.mkdir()
    made.write_params(folder)
    torch.save({"tok_embeddings.weight": Payload(folder.parent / "executed")}, folder / "consolidated.00.pth")


def other_architecture(folder: Path) -> None:
    folder.mkdir()
    made_gguf.write(folder / "model.gguf", {}, made_gguf.metadata(), arch="mamba")


def truncated_gguf(folder: Path) -> None:
    other_architecture(folder)
    (folder / "model.gguf").write_bytes((folder / "model.gguf").read_bytes()[:40])


def not_a_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing to see")


def empty(folder: Path) -> None:
    folder.mkdir()


def not_there(folder: Path) -> None: ...


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (truncated, SHARD),
    (flipped_bit_in_header, SHARD),
    (flipped_bit_in_header_length, SHARD),
    (missing_shard, SHARD),
    (wrong_shapes, "has shape [47, 32] where the config asks for [48, 32]"),
    (wrong_embeddings, "vocabulary 65"),
    (unknown_key, "num_experts"),
    (unknown_key_in_params, "moe"),
    (config_that_is_not_json, "is not valid JSON"),
    (malicious_pth, "consolidated.00.pth"),
    (other_architecture, "mamba"),
    (truncated_gguf, "model.gguf"),
    (not_a_model, "model"),
    (empty, "model"),
    (not_there, "does not exist"),
]
broken = pytest.mark.parametrize(("breaking", "said"), [pytest.param(*one, id=one[0].__name__) for one in BROKEN])


@broken
def test_generate(run: Run, tmp_path: Path, breaking: Callable[[Path], None], said: str) -> None:
    breaking(tmp_path / "model")
    run("generate", "--ids", "1,2", "-m", tmp_path / "model", "--quiet").fails_with(said)
    assert not (tmp_path / "executed").exists()


@broken
def test_convert_leaves_nothing(run: Run, tmp_path: Path, breaking: Callable[[Path], None], said: str) -> None:
    breaking(tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    run("convert", tmp_path / "model", tmp_path / "target", "--to", "consolidated").fails_with(said)
    assert sorted(tmp_path.rglob("*")) == before


@broken
def test_verify_says_which_check_fails(run: Run, tmp_path: Path, breaking: Callable[[Path], None], said: str) -> None:
    breaking(tmp_path / "model")
    ran = run("verify", tmp_path / "model", "--json")
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert said in ran.out + ran.err
    if ran.out:
        failed = [check["name"] for check in json.loads(ran.out)["checks"] if check["status"] == "fail"]
        assert ran.err == f"mistral7b: error: model fails {len(failed)} of 7 checks: {', '.join(failed)}\n"
    assert not (tmp_path / "executed").exists()


def test_a_disk_too_small(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("mistral7b.checkpoint.aside.shutil.disk_usage", lambda _: usage._replace(free=1000))
    run("convert", model, tmp_path / "target", "--to", "hf").fails_with("make room first")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    run("convert", model, tmp_path / "target", "--to", "consolidated").fails_with("No space left on device", "nothing was left")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_for_real(model: Path, tmp_path: Path) -> None:
    """No file of the process may grow past 300 kB, as if the disk ended there: the shards are larger."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = command("convert", model, tmp_path / "target", "--to", "consolidated", preexec_fn=small_files)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mistral7b: error: ")
    assert done.stderr.count("\n") == 1
    assert "nothing was left behind" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_malicious_pth_for_real(tmp_path: Path) -> None:
    malicious_pth(tmp_path / "model")
    done = command("generate", "--ids", "1", "-m", tmp_path / "model")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mistral7b: error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "executed").exists()

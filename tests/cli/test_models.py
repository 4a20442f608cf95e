"""`convert`: what it reports; the work itself is tested in its own room."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoint import made
from tests.cli.conftest import Run
from tests.cli.made import adapter


@pytest.mark.parametrize("to", ["hf", "consolidated", "gguf"])
def test_a_converted_model_answers_the_same(run: Run, model: Path, tmp_path: Path, to: str) -> None:
    target = tmp_path / ("made.gguf" if to == "gguf" else "made")
    ran = run("convert", model, target, "--to", to)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{target}: ")
    files = [target] if to == "gguf" else list(target.iterdir())
    assert all(path.name in ran.out for path in files)
    wanted = ("generate", "Once upon a time", "-n", 12, "--greedy", "-q")
    assert run(*wanted, "-m", target).out == run(*wanted, "-m", model).out


def test_the_type_and_the_object(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("convert", model, tmp_path / "made", "--to", "consolidated", "--dtype", "f32", "--json")
    told = json.loads(ran.out)
    assert told["path"] == str(tmp_path / "made")
    assert {file["name"]: file["bytes"] for file in told["files"]} == {
        path.name: path.stat().st_size for path in (tmp_path / "made").iterdir()
    }
    assert told["bytes"] == sum(file["bytes"] for file in told["files"])
    weights = load_file(tmp_path / "made" / "consolidated.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}


def test_a_target_that_is_there_needs_force(run: Run, model: Path, tmp_path: Path) -> None:
    wanted = ("convert", model, tmp_path / "made", "--to", "consolidated")
    assert run(*wanted).status == 0
    run(*wanted).fails_with("already exists", "--force")
    assert run(*wanted, "--force").status == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--to", "onnx"), "'onnx' is not one of 'hf', 'consolidated', 'gguf', 'peft', 'mistral'"),
        (("--to", "hf", "--dtype", "int8"), "'int8' is not one of 'keep'"),
        (("--to", "gguf"), "must end in .gguf"),
        ((), "convert needs --to"),
        (("--to", "hf", "--base", "tiny"), "--base is for an adapter"),
        (("--to", "peft", "--extend-vocab"), "leave out one of them"),
        (("--to", "peft"), "is no adapter"),
        (("--extend-vocab",), "only the 32,000 of v0.1 and v0.2 are extended"),
    ],
)
def test_a_conversion_that_makes_no_sense(run: Run, model: Path, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    run("convert", model, tmp_path / "made", *args).fails_with(said)
    assert not list(tmp_path.iterdir())


def test_an_adapter_there_and_back(run: Run, model: Path, tmp_path: Path) -> None:
    given = load_file(adapter(model, tmp_path / "peft") / "adapter_model.safetensors")
    run("convert", tmp_path / "peft", tmp_path / "other", "--to", "mistral").fails_with("name it with --base")
    ran = run("convert", tmp_path / "peft", tmp_path / "mistral", "--to", "mistral", "--base", model)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{tmp_path / 'mistral'}: lora.safetensors ")
    told = json.loads(run("convert", tmp_path / "mistral", tmp_path / "back", "--to", "peft", "--json").out)
    assert [file["name"] for file in told["files"]] == ["adapter_config.json", "adapter_model.safetensors"]
    back = load_file(tmp_path / "back" / "adapter_model.safetensors")
    assert back.keys() == given.keys()
    assert all(torch.equal(back[name], weight) for name, weight in given.items())
    run("convert", tmp_path / "back", tmp_path / "back", "--to", "mistral", "--base", model, "--force").fails_with("is or holds")
    run("convert", tmp_path / "mistral", tmp_path / "narrow", "--to", "peft", "--dtype", "bf16")
    assert {w.dtype for w in load_file(tmp_path / "narrow" / "adapter_model.safetensors").values()} == {torch.bfloat16}


def test_a_vocabulary_extended(run: Run, tmp_path: Path) -> None:
    config = replace(made.SMALL, vocab_size=32_000)
    (tmp_path / "old").mkdir()
    old = made.hf(tmp_path / "old", made.weights(config), config)
    ran = run("convert", old, tmp_path / "new", "--extend-vocab")
    assert (ran.status, ran.err) == (0, "")
    assert "model.safetensors" in ran.out
    assert "tokenizer.model.v3" in ran.out
    assert json.loads((tmp_path / "new" / "config.json").read_text())["vocab_size"] == 32_768

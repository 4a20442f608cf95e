"""`finetune`: data looked at before a run, a run from a recipe on disk; what it refuses is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mistral7b.recipe import as_json, read_recipe
from mistral7b.train.finetune_recipe import Finetune, FinetuneOptimizer
from tests.cli.conftest import Run
from tests.train import test_finetune as made

RECIPES = Path(__file__).parents[2] / "recipes"
Written = Callable[..., Path]
QUESTION, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return made.examples(tmp_path)


@pytest.fixture
def written(tmp_path: Path, files: tuple[Path, Path]) -> Written:
    """A recipe of the tests as a file, with changes of its keys."""

    def write(**changes: object) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(_given(as_json(made.recipe(Path("run"), "tiny", files)) | changes)))
        return path

    return write


def _given(held: object) -> object:
    """Without nulls, which say that a key is not given."""
    return {key: _given(value) for key, value in held.items() if value is not None} if isinstance(held, dict) else held


def test_a_run_is_stopped_and_goes_on(run: Run, written: Written, tmp_path: Path) -> None:
    ran = run("finetune", written(), "--until", 1)
    assert ran.status == 0
    assert "64 samples in " in ran.err
    assert "stopped at step 1 of 16; the same command goes on" in ran.err
    ran = run("finetune", written(), "--until", 2, "--json")
    assert "going on from step 1 of 16" in ran.err
    assert json.loads(ran.out) == {"step": 2, "steps": 16, "folder": None}


def test_sound_examples_are_counted(run: Run, written: Written) -> None:
    ran = run("finetune", "--check", written())
    assert ran.status == 0
    rows = [line.split() for line in ran.out.splitlines()]
    assert rows[1][:3] == ["train.jsonl", "64", "64"]
    assert rows[2][-1] == "0"


def test_every_fault_is_named_and_mended(run: Run, written: Written, files: tuple[Path, Path], tmp_path: Path) -> None:
    with files[0].open("a") as file:
        file.write("{broken\n")
        file.write(json.dumps({"messages": [QUESTION, ANSWER, QUESTION]}) + "\n")
        file.write(json.dumps({"messages": [QUESTION, {**ANSWER, "weight": 0}]}) + "\n")
    ran = run("finetune", "--check", written())
    assert ran.status == 2
    for line, mendable in ((65, False), (66, True), (67, False)):
        (said,) = (said for said in ran.err.splitlines() if f"train.jsonl, line {line}: " in said)
        assert said.endswith("(can be mended)") == mendable
    assert "3 faults, 1 of which --corrected DIR mends" in ran.err
    run("finetune", written()).fails_with("train.jsonl, line 65: ")
    ran = run("finetune", "--check", written(), "--corrected", tmp_path / "mended", "--json")
    assert ran.status == 0
    assert json.loads(ran.out)[str(files[0])]["kept"] == 65
    lines = (tmp_path / "mended" / "train.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["messages"] == [QUESTION, ANSWER]


def test_what_the_run_would_refuse_is_a_fault(run: Run, written: Written, files: tuple[Path, Path]) -> None:
    with files[0].open("a") as file:
        file.write(json.dumps({"messages": [QUESTION, {"role": "assistant", "content": "long " * 100}]}) + "\n")
    ran = run("finetune", "--check", written())
    assert ran.status == 2
    assert "train.jsonl, line 65: " in ran.err
    assert "tokens, more than 64; cut or drop what is too long" in ran.err
    data = as_json(made.recipe(Path("run"), "tiny", files))["data"]
    assert run("finetune", "--check", written(data=data | {"too_long": "drop"})).status == 0


def test_corrected_files_replace_nothing(run: Run, written: Written, files: tuple[Path, Path], tmp_path: Path) -> None:
    run("finetune", "--check", written(), "--corrected", tmp_path).fails_with("train.jsonl is there already")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.json.gz").write_bytes(b"")
    data = as_json(made.recipe(Path("run"), "tiny", files))["data"]
    twice = {"train": [{"path": str(files[0])}, {"path": str(tmp_path / "a" / "train.json.gz")}]}
    run("finetune", "--check", written(data=data | twice), "--corrected", tmp_path / "b").fails_with(
        "two files would be corrected"
    )
    assert files[0].stat().st_size


def test_masks_are_shown(run: Run, written: Written) -> None:
    ran = run("finetune", "--show-masks", 2, written())
    assert ran.status == 0
    assert "[INST]" in ran.out
    assert "a rose" in ran.out


def test_what_is_refused(run: Run, written: Written) -> None:
    run("finetune", written(lora={"rnk": 4})).fails_with("lora.rnk is not known; did you mean rank?")
    run("finetune", written(lora={"targets": ["wz"]})).fails_with("lora.targets")
    run("finetune", written(model="nowhere/at/all")).fails_with("nowhere/at/all")
    run("finetune", written(), "--corrected", "x").fails_with("--corrected is for --check")
    run("finetune", "--check", written(objective="dpo")).fails_with("--check and --show-masks look at examples")


@pytest.mark.parametrize("name", ["7b-lora", "7b-full", "7b-dpo"])
def test_the_recipes_of_the_7b_are_read(name: str, tmp_path: Path) -> None:
    variables = {"RUN": str(tmp_path / "run"), "TRAIN": str(tmp_path / "a.jsonl"), "HELD_OUT": str(tmp_path / "b.jsonl")}
    recipe = read_recipe(RECIPES / f"{name}.yaml", Finetune, variables)
    assert recipe.data.train[0].path == tmp_path / "a.jsonl"
    assert isinstance(recipe.optimizer, FinetuneOptimizer)
    assert recipe.optimizer.eps == 1e-8


def test_the_recipe_of_tiny_instruct_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "tiny-instruct" / "finetune.yaml", Finetune, {"RUN": str(tmp_path)})
    assert {each.path.stem for each in recipe.data.train} == {"copying", "stories", "facts", "tools", "json", "talk"}

"""`pretrain`: a run from a recipe on disk, stopped and gone on with; what it refuses is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mistral7b.config import ModelConfig
from mistral7b.recipe import as_json, read_recipe
from mistral7b.train.recipe import Pretrain
from tests.cli.conftest import Run
from tests.train import made

RECIPES = Path(__file__).parents[2] / "recipes"
Written = Callable[..., Path]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def written(tmp_path: Path, shards: Path) -> Written:
    """A recipe of the tests as a file, with changes of its keys (None: left out)."""

    def write(**changes: object) -> Path:
        held = as_json(made.recipe(Path("run"), shards)) | changes
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in held.items() if value is not None}))
        return path

    return write


def test_a_run_is_stopped_and_goes_on(run: Run, written: Written, tmp_path: Path) -> None:
    ran = run("pretrain", written(), "--until", 3)
    assert ran.status == 0
    assert "stopped at step 3 of 22; the same command goes on" in ran.err
    ran = run("pretrain", written())
    assert ran.status == 0
    assert "going on from step 3 of 22" in ran.err
    assert ran.out.strip() == str(tmp_path / "run" / "model")
    answer = run("generate", "Once", "-n", 2, "-m", tmp_path / "run" / "model")
    assert answer.status == 0


def test_json_is_one_object(run: Run, written: Written) -> None:
    ran = run("pretrain", written(), "--until", 2, "--json")
    assert ran.status == 0
    assert json.loads(ran.out) == {"step": 2, "steps": 22, "model": None}


def test_a_plan_trains_nothing(run: Run, written: Written, tmp_path: Path) -> None:
    ran = run("pretrain", "--plan", written(), "--world-size", 4, "--device", "h100", "--json")
    assert ran.status == 0
    told = json.loads(ran.out)
    assert told["world_size"] == 4
    assert told["fits"] is True
    assert told["tokens"] == 22 * 512 + told["tokens"] % 512
    assert not (tmp_path / "run").exists()


def test_a_typo_is_named(run: Run, written: Written) -> None:
    path = written()
    path.write_text(path.read_text().replace("z_loss:", "z_los:"))
    run("pretrain", path).fails_with("z_los is not known; did you mean z_loss?")


def test_numbers_that_do_not_fit_together_are_refused(run: Run, written: Written) -> None:
    run("pretrain", written(batch_tokens=100)).fails_with("batch_tokens 100 is no multiple of data.length 64")
    run("pretrain", written(model=None)).fails_with("give one of model (new weights) and init_from")


def test_shards_that_are_not_there(run: Run, written: Written, tmp_path: Path) -> None:
    data = as_json(made.recipe(Path("run"), tmp_path / "nowhere"))["data"]
    run("pretrain", written(data=data)).fails_with("nowhere", "mistral7b tokenizer encode")


def test_options_of_a_plan_without_one(run: Run, written: Written) -> None:
    run("pretrain", written(), "--world-size", 2).fails_with("--world-size, --device and --tokens are for --plan")


def test_the_recipe_of_tiny_is_the_embedded_model(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "tiny" / "pretrain.yaml", Pretrain, {"RUN": str(tmp_path)})
    assert recipe.model == ModelConfig(
        dim=256, n_layers=8, head_dim=32, hidden_dim=896, n_heads=8, n_kv_heads=2, norm_eps=1e-5, vocab_size=8192,
        rope_theta=10_000.0, sliding_window=512,
    )  # fmt: skip
    assert recipe.data.shards == tmp_path / "shards"

"""`merge`: the merged model answers, what changed is told, what makes no sense is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.made import adapter, talkative


@pytest.fixture
def added(model: Path, tmp_path: Path) -> Path:
    return adapter(model, tmp_path / "adapter")


def test_a_merged_model_answers_and_the_drift_is_told(run: Run, model: Path, added: Path, tmp_path: Path) -> None:
    ran = run("merge", model, added, tmp_path / "made", "--dtype", "f32")
    assert (ran.status, ran.err) == (0, "")
    for said in ("model.safetensors", "tokenizer.model.v3", "logit drift", "KL divergence", "of the adapter's effect kept"):
        assert said in ran.out
    wanted = ("generate", "Once upon a time", "-n", 12, "--greedy", "-q")
    assert run(*wanted, "-m", tmp_path / "made").out != run(*wanted, "-m", model).out


def test_the_object(run: Run, model: Path, added: Path, tmp_path: Path) -> None:
    told = json.loads(run("merge", model, added, tmp_path / "made", "--json", "--text", "Once upon a time").out)
    assert told["path"] == str(tmp_path / "made")
    assert told["bytes"] == sum(file["bytes"] for file in told["files"])
    drift = told["drift"]
    assert drift.keys() == {"tokens", "largest", "mean", "kl", "same_best", "kept"}
    assert drift["tokens"] == 5
    assert drift["mean"] < drift["largest"] < 0.25  # bf16 twice: the adapter's way and the rounded sum
    assert abs(drift["kept"] - 1) < 0.02
    told = json.loads(run("merge", model, added, tmp_path / "other", "--json", "--no-report").out)
    assert (told["drift"], told["why"]) == (None, "not asked for")


def test_without_a_tokenizer_there_is_no_text_to_measure_on(run: Run, added: Path, tmp_path: Path) -> None:
    bare = talkative(tmp_path / "bare", tokenizer=False)
    ran = run("merge", bare, added, tmp_path / "made")
    assert ran.status == 0
    assert ran.err.startswith("the drift was not measured: text needs a tokenizer")


def test_what_makes_no_sense(run: Run, model: Path, added: Path, tmp_path: Path) -> None:
    run("merge", model, tmp_path, tmp_path / "made").fails_with("is no adapter")
    run("merge", "tiny", added, tmp_path / "made").fails_with("where this model and rank ask for")
    run("merge", added, added, tmp_path / "made").fails_with("is an adapter, not a model")
    run("merge", model, added, model).fails_with("choose another target")
    run("merge", model, added, added, "--force").fails_with("is or holds the adapter")
    run("merge", model, added, tmp_path, "--no-report").fails_with("is or holds the adapter")
    run("merge", model, added, tmp_path / "made", "--dtype", "int4").fails_with("'int4' is not one of 'keep'")
    assert not (tmp_path / "made").exists()

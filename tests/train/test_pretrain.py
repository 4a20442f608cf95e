"""A whole run: resumed = uninterrupted, bit for bit; what it leaves; what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mistral7b
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import load_weights
from mistral7b.errors import DataError, MismatchError, NumericError, RecipeError
from mistral7b.train import journal
from mistral7b.train import pretrain as room
from mistral7b.train.pretrain import pretrain
from mistral7b.train.recipe import Changes, Optimizer, Parallel, Stage
from tests.train import made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> tuple[Path, made.Silent]:
    """A run that nothing stopped."""
    run, watcher = tmp_path_factory.mktemp("whole") / "run", made.Silent()
    outcome = pretrain(made.recipe(run, shards), watcher)
    assert outcome.step == outcome.steps == 22
    assert outcome.model == run / "model"
    return run, watcher


def _curve(run: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["norm"]) for line in journal.read(run / journal.METRICS) if "loss" in line]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_weights(open_checkpoint(run / "model"))


def test_it_learns_and_says_what_it_did(whole: tuple[Path, made.Silent]) -> None:
    run, watcher = whole
    losses = [line["loss"] for line in watcher.lines]
    assert losses[-1] < losses[0] - 0.5
    facts = json.loads((run / "model" / "mistral7b.json").read_text())["training"]
    assert facts["tokens"] == 22 * 512
    assert facts["steps"] == 22
    assert set(facts["held_out_bits_per_byte"]) == {"stories", "books"}
    assert [step for step, _, _ in watcher.evaluations] == [8, 16, 22]
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").iterdir())
    assert all(0 < line["mfu"] < 1 for line in watcher.lines)


def test_the_model_it_leaves_loads_and_continues(whole: tuple[Path, made.Silent]) -> None:
    llm = mistral7b.LLM(whole[0] / "model")
    assert llm.checkpoint.trained_context == made.LENGTH
    assert len(llm.generate(["Once"], mistral7b.SamplingParams(max_tokens=3, temperature=0))[0].outputs[0].token_ids) <= 3


@pytest.mark.parametrize("stops", [[1], [4, 5], [7, 8, 21]])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, shards: Path, whole: tuple[Path, made.Silent], stops: list[int]
) -> None:
    for stop in [*stops, None]:
        outcome = pretrain(made.recipe(tmp_path / "run", shards), made.Silent(), until=stop)
        assert (outcome.model is None) == (stop is not None)
    assert _curve(tmp_path / "run") == _curve(whole[0])
    ours, theirs = _weights(tmp_path / "run"), _weights(whole[0])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_that_stopped_before_its_first_step_begins_at_it(
    tmp_path: Path, shards: Path, whole: tuple[Path, made.Silent]
) -> None:
    """A checkpoint of step 0 would hold an optimizer that had been made to step once, to have a state."""
    run = tmp_path / "run"
    for stop in (0, 2):
        pretrain(made.recipe(run, shards), made.Silent(), until=stop)
    assert _curve(run) == _curve(whole[0])[:2]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000002"]


def test_a_run_that_ended_measures_again_and_says_it_once(tmp_path: Path, shards: Path, whole: tuple[Path, made.Silent]) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    pretrain(made.recipe(run, shards), made.Silent())
    assert list(journal.read(run / journal.METRICS)) == list(journal.read(whole[0] / journal.METRICS))


def test_a_run_that_lost_its_newest_checkpoint_repeats_the_same_steps(
    tmp_path: Path, shards: Path, whole: tuple[Path, made.Silent]
) -> None:
    run = tmp_path / "run"
    pretrain(made.recipe(run, shards), made.Silent(), until=10)
    (run / "checkpoints" / "step-00000010" / ".metadata").unlink()
    with pytest.warns(UserWarning, match="going back"):
        pretrain(made.recipe(run, shards), made.Silent())
    assert _curve(run) == _curve(whole[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path: Path, shards: Path, number: int) -> None:
    class Interrupting(made.Silent):
        def step(self, line: dict[str, Any], steps: int) -> None:
            super().step(line, steps)
            if line["step"] == 6:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    outcome = pretrain(made.recipe(tmp_path / "run", shards), Interrupting())
    assert (outcome.step, outcome.model) == (6, None)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if "06" in path.name] == ["step-00000006"]
    assert signal.getsignal(number) == before


def test_stages_follow_one_another(tmp_path: Path, shards: Path) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    staged = replace(recipe.data, stages=(Stage(epochs={"stories": 1.0}), Stage(epochs={"stories": 0.5, "books": 1.0})))
    rows = room.course(replace(recipe, data=staged), room.Shards.open(shards))
    first, second = (stage.rows_of for stage in rows.stages)
    assert set(first) == {"stories"}
    assert set(second) == {"stories", "books"}
    assert rows.rows == sum(first.values()) + sum(second.values())
    with pytest.raises(RecipeError, match="'poems'; the shards have books, stories"):
        room.course(replace(recipe, data=replace(recipe.data, stages=(Stage(epochs={"poems": 1.0}),))), room.Shards.open(shards))


def test_what_is_usual_is_learned_anew_at_each_stage(tmp_path: Path, shards: Path) -> None:
    """Else the first gradients of other data were spikes, and a run that skips too many stops. The border lies within a step."""
    recipe = made.recipe(tmp_path / "run", shards)
    stages = (Stage(epochs={"stories": 1.0}), Stage(epochs={"books": 1.0}))
    recipe = replace(recipe, data=replace(recipe.data, stages=stages))
    rows = room.course(recipe, room.Shards.open(shards))
    before = rows.ends[0] // recipe.rows  # whole steps
    assert rows.ends[0] % recipe.rows
    assert [step for step in range(rows.steps(recipe.rows)) if rows.turns(step, 8)] == [before]
    outcome = pretrain(recipe, made.Silent())
    (newest,) = (tmp_path / "run/checkpoints").glob(f"*{outcome.steps:08d}")
    norms = json.loads((newest / "checkpoint.json").read_text())["progress"]["norms"]
    assert norms["seen"] == outcome.steps - before


def test_a_continued_model_may_change_theta_and_window(tmp_path: Path, shards: Path, whole: tuple[Path, made.Silent]) -> None:
    recipe = made.recipe(tmp_path / "run", shards, model=None, init_from=str(whole[0] / "model"))
    recipe = replace(recipe, changes=Changes(rope_theta=1e6, sliding_window="none"))
    watcher = made.Silent()
    pretrain(recipe, watcher, until=2)
    assert "rope_theta 1e+06, window none" in watcher.notes[0]
    assert watcher.lines[0]["loss"] < whole[1].lines[0]["loss"] - 0.5  # not from new weights


def test_another_architecture_or_other_shards_in_the_same_folder_are_refused(tmp_path: Path, shards: Path) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    pretrain(recipe, made.Silent(), until=1)
    with pytest.raises(MismatchError, match="another architecture"):
        pretrain(replace(recipe, model=replace(made.CONFIG, rope_theta=5.0)), made.Silent())
    others = made.made.shards(tmp_path / "other", {"stories": [made.documents(9, 50)]})
    (tmp_path / "other" / "tokenizer.model.v3").write_bytes((shards / "tokenizer.model.v3").read_bytes())
    with pytest.raises(MismatchError, match="other shards"):
        pretrain(replace(recipe, data=replace(recipe.data, shards=others.folder)), made.Silent())


@pytest.mark.parametrize("changed", ["batch_tokens", "seed", "stages"])
def test_a_run_reads_on_as_it_began(tmp_path: Path, shards: Path, changed: str) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    pretrain(recipe, made.Silent(), until=1)
    data = {"seed": {"seed": 9}, "stages": {"stages": (Stage(epochs={"books": 2.0}),)}}.get(changed, {})
    other = (
        replace(recipe, batch_tokens=4 * made.LENGTH)
        if changed == "batch_tokens"
        else replace(recipe, data=replace(recipe.data, **data))
    )
    with pytest.raises(MismatchError, match=f"begun with {changed} "):
        pretrain(other, made.Silent())


def test_what_changed_in_the_recipe_is_said(tmp_path: Path, shards: Path) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    pretrain(recipe, made.Silent(), until=1)
    watcher = made.Silent()
    pretrain(replace(recipe, z_loss=1e-4), watcher, until=2)
    assert "z_loss is not as it was: 0.0 before, 0.0001 now" in watcher.notes


def test_a_tokenizer_that_does_not_match_the_shards_is_refused(tmp_path: Path, shards: Path) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    other = tmp_path / "tokenizer.model.v3"
    other.write_bytes(b"another")
    with pytest.raises(DataError, match="tokenizer"):
        pretrain(replace(recipe, data=replace(recipe.data, tokenizer=other)), made.Silent())
    with pytest.raises(MismatchError, match="8,192 ids and the model 1,000"):
        pretrain(replace(recipe, model=replace(made.CONFIG, vocab_size=1000)), made.Silent())


def test_a_loss_that_is_not_finite_says_where_to_go_on(tmp_path: Path, shards: Path) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    pretrain(recipe, made.Silent(), until=4)
    wild = replace(recipe, optimizer=Optimizer(rate=1e30, clip=1e30))
    with pytest.raises(NumericError, match=r"step \d+: .*goes on from step 4"):
        pretrain(wild, made.Silent())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_tokens": 100}, "no multiple of data.length"),
        ({"model": None}, "one of model"),
        ({"changes": Changes(rope_theta=1.0)}, "changes are for init_from"),
        ({"micro_batch_rows": 0}, "above 0"),
    ],
)
def test_recipes_that_make_no_run(tmp_path: Path, shards: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made.recipe(tmp_path, shards, **changes)


def test_a_layout_for_more_processes_than_there_are(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(RecipeError, match="do not divide 1 process; start a multiple of 2 with torchrun"):
        pretrain(made.recipe(tmp_path, shards, parallel=Parallel(tensor=2)), made.Silent())

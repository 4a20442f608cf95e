"""One run on several processes equals the run on one: losses, norms, weights, held-out bits, continuations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from mistral7b.train.recipe import Optimizer, Parallel
from tests.train import made, processes

log = logging.getLogger(__name__)
CLOSE = 1e-5
EVALUATED = {"evaluate": made.Evaluate(every=4, tokens=4 * made.LENGTH, prompts=("Once", "A"), sample_tokens=3)}
MUON = {"optimizer": Optimizer(name="muon", rate=3e-3)}
TENSOR, RECOMPUTE, HYBRID = Parallel(tensor=2), Parallel(recompute=True), Parallel(replicate=2)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """Six steps of one process."""
    run = tmp_path_factory.mktemp("one") / "run"
    made.pretrain(made.recipe(run, shards, **EVALUATED), until=6)
    return run


def _equal(run: Path, other: Path) -> None:
    loss, norm = processes.apart(run, other)
    assert loss < CLOSE
    assert norm < 1e-4
    ours, theirs = processes.weights(run), processes.weights(other)
    assert ours.keys() == theirs.keys()
    weight = max((ours[name] - theirs[name]).abs().max().item() for name in theirs)
    log.info("greatest differences: loss %.2g, norm %.2g of it, weight %.2g", loss, norm, weight)
    assert weight < CLOSE
    for mine, yours in zip(processes.evaluations(run), processes.evaluations(other), strict=True):
        assert mine["held_out_bits_per_byte"] == pytest.approx(yours["held_out_bits_per_byte"], abs=CLOSE)
        assert mine["samples"] == yours["samples"]


@pytest.mark.parametrize("parallel", [Parallel(), TENSOR], ids=["sharded", "tensor"])
def test_two_ranks_equal_one(tmp_path: Path, shards: Path, one: Path, parallel: Parallel) -> None:
    processes.run(made.recipe(tmp_path / "run", shards, parallel=parallel, **EVALUATED), 2, "--until", 6)
    assert len(processes.evaluations(one)) == 1
    _equal(tmp_path / "run", one)


@pytest.mark.parametrize(
    ("changes", "world", "said"),
    [
        ({"batch_tokens": 7 * made.LENGTH}, 2, "batch_tokens give 7 rows a step, which 2 ranks cannot share"),
        ({"parallel": Parallel(tensor=3)}, 2, "tensor 3 x replicate 1 do not divide 2 processes; start a multiple of 3"),
        ({"parallel": Parallel(tensor=4)}, 4, "parallel.tensor 4 does not divide n_kv_heads 2"),
    ],
)
@pytest.mark.slow
def test_what_ranks_cannot_share_is_said_in_one_line(
    tmp_path: Path, shards: Path, changes: dict[str, Any], world: int, said: str
) -> None:
    with processes.Group(made.recipe(tmp_path / "run", shards, **changes), world) as group:
        for rank in group.ended():
            assert rank.status == 2
            assert [said in line for line in rank.said.splitlines()] == [True]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shards(tmp_path_factory.mktemp("long"), 3.0)


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory, long: Path) -> dict[str, Path]:
    """Fifty steps of one process, by either optimizer; and the model it leaves."""
    folder = tmp_path_factory.mktemp("fifty")
    for name, changes in (("adamw", {}), ("muon", MUON)):
        made.pretrain(made.recipe(folder / name, long, **EVALUATED, **changes), until=50)
    return {name: folder / name for name in ("adamw", "muon")}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("world", "parallel", "name"),
    [
        (2, Parallel(), "adamw"),
        (2, TENSOR, "adamw"),
        (2, RECOMPUTE, "adamw"),
        (2, HYBRID, "adamw"),
        (4, HYBRID, "adamw"),
        (4, TENSOR, "adamw"),
        (2, Parallel(), "muon"),
        (4, TENSOR, "muon"),
    ],
    ids=[
        "shard2",
        "tensor2",
        "recompute",
        "replicate2",
        "replicate2-shard2",
        "tensor2-shard2",
        "muon-shard2",
        "muon-tensor2-shard2",
    ],
)
def test_fifty_steps_of_many_equal_those_of_one(
    tmp_path: Path, long: Path, fifty: dict[str, Path], world: int, parallel: Parallel, name: str
) -> None:
    changes = {**EVALUATED, **(MUON if name == "muon" else {})}
    processes.run(made.recipe(tmp_path / "run", long, parallel=parallel, **changes), world, "--until", 50)
    assert len(processes.evaluations(fifty[name])) == 12
    _equal(tmp_path / "run", fifty[name])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_models_that_two_and_one_leave_are_equal(tmp_path: Path, shards: Path) -> None:
    """In bf16 a weight beside the middle between two values may fall to either: the next one is 2^-8 away."""
    made.pretrain(made.recipe(tmp_path / "one", shards))
    processes.run(made.recipe(tmp_path / "two", shards), 2)
    processes.run(made.recipe(tmp_path / "tensor", shards, parallel=TENSOR), 2)
    theirs = processes.exported(tmp_path / "one")
    for name in ("two", "tensor"):
        ours = processes.exported(tmp_path / name)
        assert ours.keys() == theirs.keys()
        apart = [(ours[key].float() - theirs[key].float()).abs() > CLOSE for key in theirs]
        assert sum(int(each.sum()) for each in apart) < 0.001 * sum(each.numel() for each in apart)
        for key in theirs:
            assert ((ours[key].float() - theirs[key].float()).abs() <= 2**-7 * theirs[key].float().abs() + CLOSE).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("changes", [{}, MUON], ids=["adamw", "muon"])
def test_a_run_goes_on_under_other_layouts(tmp_path: Path, shards: Path, changes: dict[str, Any]) -> None:
    made.pretrain(made.recipe(tmp_path / "one", shards, **EVALUATED, **changes), until=10)
    for world, parallel, until in ((1, Parallel(), 3), (2, Parallel(), 5), (2, TENSOR, 7), (1, Parallel(), 10)):
        processes.run(made.recipe(tmp_path / "run", shards, parallel=parallel, **EVALUATED, **changes), world, "--until", until)
    _equal(tmp_path / "run", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_that_stopped_go_on_bit_for_bit(tmp_path: Path, shards: Path) -> None:
    recipe = made.recipe(tmp_path / "run", shards)
    processes.run(made.recipe(tmp_path / "whole", shards), 2, "--until", 9)
    for until in (3, 9):
        processes.run(recipe, 2, "--until", until)
    assert processes.curve(tmp_path / "run") == processes.curve(tmp_path / "whole")
    ours, theirs = processes.weights(tmp_path / "run"), processes.weights(tmp_path / "whole")
    assert all(ours[name].equal(theirs[name]) for name in theirs)

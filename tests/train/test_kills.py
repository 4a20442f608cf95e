"""Runs that lose a process at any moment, a rank that hangs, and signals: nothing is lost, and somebody says what happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mistral7b.train.recipe import Keep, Pretrain
from tests.train import made, processes

PATIENCE = 20.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    run = tmp_path_factory.mktemp("one") / "run"
    made.pretrain(_recipe(run, shards))
    return run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    run = tmp_path_factory.mktemp("two") / "run"
    processes.run(_recipe(run, shards), 2)
    return run


def _recipe(run: Path, shards: Path) -> Pretrain:
    """A checkpoint at every other step, so that kills hit some."""
    return made.recipe(run, shards, keep=Keep(every=2), hang_seconds=PATIENCE)


def _equal(run: Path, other: Path) -> None:
    """Bit for bit, each step once; and each evaluation."""
    assert processes.curve(run) == processes.curve(other)
    assert processes.evaluations(run) == processes.evaluations(other)
    ours, theirs = processes.weights(run), processes.weights(other)
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_twenty_kills_at_random_moments(tmp_path: Path, shards: Path, one: Path) -> None:
    """Half of them while a checkpoint is being written, half a random while after the first new step."""
    dice = random.Random(7)
    recipe = _recipe(tmp_path / "run", shards)
    partial, killed, ended = 0, 0, 0
    while killed < 20:
        made_before = max((step for step, _, _ in processes.curve(recipe.run)), default=0)
        with processes.Group(recipe) as group:
            process = group.ranks[0]
            limit = time.monotonic() + processes.PATIENCE
            wanted = "step-*.partial" if killed % 2 else "step-*"
            before = set((recipe.run / "checkpoints").glob("step-*")) if (recipe.run / "checkpoints").is_dir() else set()
            while process.poll() is None and time.monotonic() < limit:
                if set((recipe.run / "checkpoints").glob(wanted)) - before:
                    break
                time.sleep(0.001)
            time.sleep(dice.random() * (0.05 if killed % 2 else 0.4))
            process.kill()
            process.wait()
            ended += process.returncode == 0
        killed += 1
        partial += any((recipe.run / "checkpoints").glob("step-*.partial"))
        if process.returncode == 0 or made_before >= 18:  # from the beginning, for there is little left to kill
            processes.run(recipe)
            _equal(recipe.run, one)
            recipe = _recipe(tmp_path / f"run{killed}", shards)
    processes.run(recipe)
    _equal(recipe.run, one)
    assert partial >= 3
    assert ended <= 5


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_is_named_and_the_next_start_goes_on(tmp_path: Path, shards: Path, two: Path, victim: int) -> None:
    recipe = _recipe(tmp_path / "run", shards)
    with processes.Group(recipe, 2) as group:
        group.until_step(3)
        group.kill(victim)
        killed = time.monotonic()
        ended = group.ended()
        assert time.monotonic() - killed < PATIENCE + 5
    assert ended[victim].status == -signal.SIGKILL
    left = ended[1 - victim]
    assert left.status > 0
    (line,) = left.errors
    assert line.startswith(f"mistral7b: error: rank {victim} on ")
    assert f"process {group.ranks[victim].pid}" in line
    assert "start again" in line
    assert "Traceback" not in left.said
    processes.run(recipe, 2)
    _equal(recipe.run, two)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_is_named_and_the_others_end(tmp_path: Path, shards: Path, rank: int) -> None:
    with processes.Group(_recipe(tmp_path / "run", shards), 2, hang=(rank, 3)) as group:
        ended = group.ended()
    other = ended[1 - rank]
    assert [each.status for each in ended] == [3, 3]
    (line,) = other.errors
    assert line.startswith(f"mistral7b: error: rank {rank} on ")
    assert f"process {group.ranks[rank].pid}, last at step 3: data" in line
    assert "sleeping) hangs; " in line
    assert f"rank {1 - rank} has waited 2" in line


def test_a_rank_that_stands_still_as_a_whole_is_named(tmp_path: Path, shards: Path) -> None:
    with processes.Group(_recipe(tmp_path / "run", shards), 2) as group:
        group.until_step(3)
        group.kill(1, signal.SIGSTOP)
        assert group.ranks[0].wait(processes.PATIENCE) == 3
        assert f"rank 1 on {os.uname().nodename} (process {group.ranks[1].pid}" in group.logs[0].read_text()


@pytest.mark.parametrize("told", [(0, 1), (0,), (1,)], ids=["both", "first", "second"])
def test_sigterm_to_any_rank_saves_and_stops_all(tmp_path: Path, shards: Path, two: Path, told: tuple[int, ...]) -> None:
    recipe = _recipe(tmp_path / "run", shards)
    with processes.Group(recipe, 2) as group:
        group.until_step(3)
        for rank in told:
            group.kill(rank, signal.SIGTERM)
        ended = group.ended()
    assert [rank.status for rank in ended] == [0, 0]
    assert "the same command goes on" in ended[0].said
    last = processes.curve(recipe.run)[-1][0]
    assert last < 22
    assert (recipe.run / "checkpoints" / f"step-{last:08d}").is_dir()
    processes.run(recipe, 2)
    _equal(recipe.run, two)


def test_an_error_of_one_rank_is_told_by_the_others(tmp_path: Path, shards: Path) -> None:
    with processes.Group(_recipe(tmp_path / "run", shards), 2, fail=(1, 3)) as group:
        ended = group.ended()
    assert [rank.status for rank in ended] == [2, 2]
    assert ended[1].errors == ["mistral7b: error: no such rows"]
    (line,) = ended[0].errors
    assert "rank 1 on " in line
    assert "ended: no such rows" in line


@contextmanager
def _torchrun(recipe: Pretrain, log: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """Two workers and their agent, three steps into the run."""
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(processes.free_port()), *args]
    with log.open("wb") as file:
        agent = subprocess.Popen(
            [sys.executable, *command, processes.WORKER, "pretrain", processes.write(recipe)],
            env=processes.ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        processes.wait_until(lambda: len(processes.curve(recipe.run)) >= 3, lambda: agent.poll() is None)
        yield agent
    finally:
        for pid in [agent.pid, *processes.children(agent.pid)] if agent.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        agent.wait()


def test_torchrun_starts_a_lost_worker_again(tmp_path: Path, shards: Path, two: Path) -> None:
    recipe, log = _recipe(tmp_path / "run", shards), tmp_path / "log"
    with _torchrun(recipe, log, "--max-restarts", "1") as agent:
        victim = next(pid for pid in processes.children(agent.pid) if processes.rank_of(pid) == "1")
        os.kill(victim, signal.SIGKILL)
        assert agent.wait(processes.PATIENCE) == 0, log.read_text()
    assert "going on from step" in log.read_text()
    _equal(recipe.run, two)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_to_torchrun_saves_and_stops(tmp_path: Path, shards: Path, number: int) -> None:
    recipe, log = _recipe(tmp_path / "run", shards), tmp_path / "log"
    with _torchrun(recipe, log) as agent:
        agent.send_signal(number)
        assert agent.wait(processes.PATIENCE) != 0  # the agent's own way to say that it was told to end
    last = processes.curve(recipe.run)[-1][0]
    assert last < 22
    assert (recipe.run / "checkpoints" / f"step-{last:08d}").is_dir(), log.read_text()
    assert "the same command goes on" in log.read_text()

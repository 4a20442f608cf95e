"""Ranks of a run as processes of this machine, over gloo on the loopback; and what they leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

import mistral7b
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import load_weights
from mistral7b.recipe import as_json
from mistral7b.train import journal
from mistral7b.train.recipe import Pretrain, Training

WORKER = Path(__file__).with_name("ranks_worker.py")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")} | {
    "PYTHONPATH": os.pathsep.join((str(Path(mistral7b.__file__).parents[1]), str(Path(__file__).parents[2]))),
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
PATIENCE = 600.0  # seconds for a start of several processes on a busy machine, and a short run


@dataclass(frozen=True)
class Ended:
    """How a rank ended: its exit status (minus the signal that killed it) and what it wrote to stderr."""

    status: int
    said: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.said.splitlines() if line.startswith("mistral7b: error: ")]


class Group:
    """The ranks of one start. A context: those that still run at its end are killed."""

    def __init__(
        self, recipe: Training, world: int = 1, *args: object,
        hang: tuple[int, int] | None = None, fail: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.recipe = recipe
        hooks = [part for name, at in (("--hang", hang), ("--fail", fail)) if at is not None for part in (name, *at)]
        verb = "pretrain" if isinstance(recipe, Pretrain) else "finetune"
        command = [sys.executable, WORKER, *hooks, verb, write(recipe), *args]
        port = free_port()
        self.logs = [recipe.run.with_name(f"{recipe.run.name}.{rank}.log") for rank in range(world)]
        self.ranks = [self._start([str(part) for part in command], rank, world, port) for rank in range(world)]

    def _start(self, command: list[str], rank: int, world: int, port: int) -> subprocess.Popen[bytes]:
        place = {} if world == 1 else {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        environment = ENVIRONMENT | {key: str(value) for key, value in place.items()}
        with self.logs[rank].open("wb") as log:
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.ranks:
            process.kill()
            process.wait()

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        self.ranks[rank].send_signal(number)

    def until(self, ready: Callable[[], bool]) -> None:
        """Waits for `ready`; fails if a rank ends before."""
        try:
            wait_until(ready, lambda: all(process.poll() is None for process in self.ranks))
        except AssertionError as error:
            raise AssertionError("\n".join(log.read_text() for log in self.logs)) from error

    def until_step(self, step: int) -> None:
        self.until(lambda: any(line["step"] >= step for line in journal.read(self.recipe.run / journal.METRICS)))

    def ended(self, seconds: float = PATIENCE) -> list[Ended]:
        """How all of them ended, within `seconds`."""
        limit = time.monotonic() + seconds
        for process in self.ranks:
            process.wait(max(0.1, limit - time.monotonic()))
        return [Ended(process.returncode, log.read_text()) for process, log in zip(self.ranks, self.logs, strict=True)]


def write(recipe: Training) -> Path:
    """The recipe as a file, and the folder for its run."""
    recipe.run.mkdir(parents=True, exist_ok=True)
    path = recipe.run.with_suffix(".json")
    path.write_text(json.dumps(_without_defaults(as_json(recipe))))
    return path


def wait_until(ready: Callable[[], bool], alive: Callable[[], bool], seconds: float = PATIENCE) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert alive(), "ended too early"
        assert time.monotonic() < limit, "too late"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> str | None:
    """RANK in a process' environment."""
    held = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((each.decode().removeprefix("RANK=") for each in held if each.startswith(b"RANK=")), None)


def run(recipe: Training, world: int = 1, *args: object) -> list[Ended]:
    """A start of `world` ranks that ends well."""
    with Group(recipe, world, *args) as group:
        ended = group.ended()
    for rank in ended:
        assert rank.status == 0, rank.said
        assert "Traceback" not in rank.said
    return ended


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def curve(run: Path) -> list[tuple[int, float, float]]:
    """(Step, loss, norm) of every line of a run's metrics."""
    return [(line["step"], line["loss"], line["norm"]) for line in journal.read(run / journal.METRICS) if "loss" in line]


def evaluations(run: Path) -> list[dict[str, Any]]:
    return [line for line in journal.read(run / journal.METRICS) if "samples" in line]


def apart(one: Path, other: Path) -> tuple[float, float]:
    """The greatest difference of a step's loss, and of its norm relative to it, between two whole curves of equal length."""
    ours, theirs = curve(one), curve(other)
    assert [line[0] for line in ours] == [line[0] for line in theirs] == list(range(1, len(ours) + 1))
    pairs = list(zip(ours, theirs, strict=True))
    return max(abs(a[1] - b[1]) for a, b in pairs), max(abs(a[2] - b[2]) / b[2] for a, b in pairs)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The fp32 weights of a run's newest checkpoint, whole."""
    newest = max((run / "checkpoints").glob("step-*[0-9]"))
    reader = FileSystemReader(newest)
    held = reader.read_metadata().state_dict_metadata
    found = {key: torch.empty(facts.size) for key, facts in held.items() if key.startswith("model.")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(found, storage_reader=reader, no_dist=True)
    return {key.removeprefix("model."): value for key, value in found.items()}


def exported(run: Path) -> dict[str, torch.Tensor]:
    """The weights of the model folder that a run left."""
    return load_weights(open_checkpoint(run / "model"))


def _without_defaults(found: Any) -> Any:
    """Nulls say that a key is not given."""
    if isinstance(found, dict):
        return {key: _without_defaults(value) for key, value in found.items() if value is not None}
    return found

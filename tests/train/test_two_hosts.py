"""A run on two hosts: network namespaces joined by a cable, a torchrun in each."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mistral7b.train.recipe import Keep, Pretrain
from tests.train import made, processes

HANG = 20.0
NETWORK = "10.77.0"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


@dataclass
class Hosts:
    """Two hosts, `names` for `ip netns`, and what runs on them."""

    names: tuple[str, str]
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)

    def start(self, recipe: Pretrain, *args: object) -> None:
        """One rank on each, by torchrun."""
        self.kill()
        self.agents, self.logs = [], []
        path, port = processes.write(recipe), processes.free_port()
        for rank, name in enumerate(self.names):
            torchrun = [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1, "--node-rank", rank,
                "--master-addr", f"{NETWORK}.1", "--master-port", port, processes.WORKER, "pretrain", path, *args,
            ]  # fmt: skip
            named = ["unshare", "--uts", "sh", "-c", f'hostname host-{rank}; exec "$@"', "sh", *map(str, torchrun)]
            self.logs.append(recipe.run.with_name(f"{recipe.run.name}.host-{rank}.log"))
            with self.logs[rank].open("wb") as log:
                self.agents.append(subprocess.Popen(
                    ["ip", "netns", "exec", name, *named], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=processes.ENVIRONMENT | {"GLOO_SOCKET_IFNAME": "cable"},
                ))  # fmt: skip

    def until_step(self, run: Path, step: int) -> None:
        processes.wait_until(
            lambda: any(at >= step for at, _, _ in processes.curve(run)), lambda: all(a.poll() is None for a in self.agents)
        )

    def ended(self) -> list[int]:
        return [agent.wait(processes.PATIENCE) for agent in self.agents]

    def crash(self, rank: int) -> None:
        """The processes of one host, all at once and without a word."""
        for pid in [self.agents[rank].pid, *processes.children(self.agents[rank].pid)]:
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        for rank, agent in enumerate(self.agents):
            if agent.poll() is None:
                self.crash(rank)
            agent.wait()

    def line(self, rank: int) -> str:
        """The one line of error that a rank wrote."""
        (line,) = re.findall(r"^mistral7b: error: (.*)$", self.logs[rank].read_text(), re.MULTILINE)
        return str(line)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if os.geteuid() or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces need root, ip and unshare")
    names = f"m7b-{os.getpid()}-0", f"m7b-{os.getpid()}-1"
    try:
        _ip("netns", "add", names[0])
        _ip("netns", "add", names[1])
        _ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    found = Hosts(names)
    try:
        for number, name in enumerate(names, 1):
            _ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield found
    finally:
        found.kill()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    run = tmp_path_factory.mktemp("one") / "run"
    made.pretrain(_recipe(run, shards))
    return run


def _recipe(run: Path, shards: Path) -> Pretrain:
    return made.recipe(run, shards, keep=Keep(every=2), hang_seconds=HANG)


@pytest.mark.parametrize("loss", ["host", "cable"])
def test_two_hosts_equal_one_and_go_on_after_a_loss(hosts: Hosts, tmp_path: Path, shards: Path, one: Path, loss: str) -> None:
    recipe = _recipe(tmp_path / "run", shards)
    hosts.start(recipe)
    hosts.until_step(recipe.run, 5)
    if loss == "host":
        hosts.crash(1)
    else:
        _ip("-n", hosts.names[1], "link", "set", "cable", "down")
    assert hosts.agents[0].wait(HANG + 60) != 0
    assert re.match(r"rank 1 on host-1 \(process \d+, last at .*\) gave no more sign of life; rank 0 ", hosts.line(0))
    if loss == "cable":
        hosts.agents[1].wait(HANG + 60)
        assert re.match(rf"the store at {NETWORK}.1:\d+ does not answer: .*; rank 1 has waited 2\d s", hosts.line(1))
        _ip("-n", hosts.names[1], "link", "set", "cable", "up")
    hosts.start(recipe)
    assert hosts.ended() == [0, 0]
    assert "going on from step" in hosts.logs[0].read_text()
    difference, _ = processes.apart(recipe.run, one)
    assert difference < 1e-5

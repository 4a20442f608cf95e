"""A swarm of real processes whose only seed is killed: what the others have together is enough, or they say what is missing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import libtorrent as lt
import pytest

from tests.cli.made import TALKATIVE
from tests.release.processes import NOBODY_ELSE, free_address, onlookers, running, seed_process
from tests.release.published import SIGNER, bytes_of, release
from tests.release.torrents import PIECE, alone, serving, torrent_of, until

SEED = "127.0.0.2"
LEECHERS = range(5)
PATIENCE = 60  # seconds: more than a busy machine takes to begin
SAID = (
    r"mistral7b: error: (\d+) of (\d+) pieces of story have no seed \(n.*\): [\d,]+ bytes of model\.safetensors.* are missing; "
    r"what arrived is kept: .*\n"
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Swarm:
    """A release, and five who fetch it from its seed and from one another."""

    def __init__(self, root: Path) -> None:
        self.made = torrent_of(release(root / "story", config=replace(TALKATIVE, dim=128)))
        self.root = root
        self.seed = free_address(SEED)
        self.leechers = [free_address(f"127.0.0.{11 + n}") for n in LEECHERS]
        info = lt.load_torrent_file(str(self.made.torrent)).ti
        assert info is not None
        self.pieces = set(range(info.num_pieces()))

    def leech(self, n: int) -> tuple[object, ...]:
        """The n-th one's command, the same whenever it is run."""
        peers = [part for peer in (self.seed, *self.leechers) if peer != self.leechers[n] for part in ("--peer", peer)]
        return ("download", self.made.torrent, "--to", self.root / f"got{n}", "--signed-by", SIGNER, "--up", "70k",
                "--listen", self.leechers[n], "--patience", PATIENCE, "--json", *NOBODY_ELSE, *peers)  # fmt: skip

    def home(self, n: int) -> Path:
        return self.root / f"home{n}"

    @contextmanager
    def until_killed(self, up: str, enough: int) -> Iterator[list[subprocess.Popen[str]]]:
        """The five of them, none of which is done, once the seed is killed because they have `enough` of its pieces together."""
        with ExitStack() as stack:
            five = [stack.enter_context(running(self.home(n), *self.leech(n))) for n in LEECHERS]
            with onlookers(self.made, self.leechers) as each:
                known = [part for peer in self.leechers for part in ("--peer", peer)]
                seed = stack.enter_context(seed_process(self.made, self.seed, "--up", up, *known))
                until(lambda: len(set[int]().union(*(one.look() for one in each))) >= enough)
                seed.kill()
                seed.wait()
                self.had = [one.look() for one in each]
            assert all(have < self.pieces for have in self.had), "it was killed too late"
            assert [process.poll() for process in five] == [None] * len(five)
            yield five

    def got(self, n: int) -> dict[str, bytes]:
        return bytes_of(self.root / f"got{n}")


def test_what_the_others_have_together_is_enough(tmp_path: Path) -> None:
    swarm = Swarm(tmp_path)
    with swarm.until_killed("1M", len(swarm.pieces)) as five:
        for n, process in enumerate(five):
            _, err = process.communicate(timeout=240)
            assert (process.returncode, err) == (0, "")
            assert swarm.got(n) == swarm.made.files


def test_what_nobody_has_is_told_and_comes_from_the_next_seed(tmp_path: Path) -> None:
    swarm = Swarm(tmp_path)
    with swarm.until_killed("300k", len(swarm.pieces) // 4) as five:
        nowhere = []
        for process in five:
            out, err = process.communicate(timeout=240)
            assert (process.returncode, out) == (2, "")
            told = re.fullmatch(SAID, err)
            assert told is not None, err
            assert int(told[2]) == len(swarm.pieces)
            nowhere.append(int(told[1]))
    together = set[int]().union(*swarm.had)
    assert together < swarm.pieces
    with serving(swarm.made, alone(SEED, listen=(swarm.seed,))) as (_, handle):
        for those in (LEECHERS[:1], LEECHERS[1:]):
            with ExitStack() as stack:
                processes = {n: stack.enter_context(running(swarm.home(n), *swarm.leech(n))) for n in those}
                for n, process in processes.items():
                    _, err = process.communicate(timeout=240)
                    assert (process.returncode, err) == (0, "")
                    assert swarm.got(n) == swarm.made.files
            if those == LEECHERS[:1]:
                assert 0 < handle.status().total_payload_upload <= nowhere[0] * PIECE, "what had come is not sent again"

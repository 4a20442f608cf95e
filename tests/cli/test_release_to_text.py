"""From a model to its text on another machine, by the commands of docs/releasing.md, each in a process on the loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.subprocesses import ENVIRONMENT
from tests.release.processes import NOBODY_ELSE, free_address, running
from tests.release.published import bytes_of

SEED, HERE = "127.0.0.2", "127.0.0.3"
STORY = ("generate", "Once upon a time", "-n", "16", "--greedy", "-q", "-m")
# `generate` has no options for a swarm, and by itself would look for peers beyond this machine.
ON_THE_LOOPBACK = f"""
import sys
from functools import partial
from mistral7b.cli.main import main
from mistral7b.release import fetch
from mistral7b.release.session import Settings
fetch.Settings = partial(Settings, listen=("{HERE}:0",), dht=False, trackers=False, pex=False, lsd=False)
sys.exit(main(sys.argv[1:]))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_release_seed_magnet_generate(tmp_path: Path) -> None:
    seeded, published = free_address(SEED), tmp_path / "published"
    told = json.loads(
        done(tmp_path / "a", "release", "tiny", "--out", published, "--new-key", tmp_path / "my.key", "--peer", seeded, "--json")
    )
    with running(tmp_path / "a", "seed", told["path"], "--listen", seeded, *NOBODY_ELSE, "--json") as seed:
        assert seed.stdout is not None
        assert any(json.loads(line)["event"] == "seeding" for line in seed.stdout)
        mine = tmp_path / "mine"
        asked = ("--signed-by", told["public_key"], "--to", mine, "--listen", f"{HERE}:0", *NOBODY_ELSE)
        got = json.loads(done(tmp_path / "b", "download", told["magnet"], *asked, "--json"))
        assert {check["name"]: check["status"] for check in got["checks"][:3]} == dict.fromkeys(
            ("source", "manifest", "signature"), "pass"
        )
        assert bytes_of(mine) == bytes_of(Path(told["path"]))
        text = done(tmp_path / "b", *STORY, mine)
        command = [sys.executable, "-c", ON_THE_LOOPBACK, *STORY, told["magnet"]]
        environment = ENVIRONMENT | {"MISTRAL7B_HOME": str(tmp_path / "c")}
        linked = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
        assert (linked.returncode, linked.stderr) == (0, "")
    assert text == linked.stdout == done(tmp_path / "a", *STORY, "tiny")
    assert len(text.split()) > 8
    assert done(tmp_path / "c", *STORY, told["magnet"]) == text, "from the store, with nobody there"


def done(home: Path, *args: object) -> str:
    """What the command says when it is done."""
    with running(home, *args) as process:
        out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    return out

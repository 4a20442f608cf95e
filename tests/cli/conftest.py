"""One small model for all tests of the command line, and the command itself, run in this process."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mistral7b.cli.main import main
from tests.cli.made import talkative


@dataclass(frozen=True)
class Ran:
    """What a run left: exit status and the two streams."""

    status: int
    out: str
    err: str

    def fails_with(self, *said: str) -> None:
        """Exit status 2, nothing on stdout, and one line on stderr that says it."""
        assert (self.status, self.out) == (2, ""), self
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("mistral7b: error: "), self.err
        for part in said:
            assert part in self.err


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talkative(tmp_path_factory.mktemp("cli") / "talkative")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def running(*args: object, stdin: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        status = main([str(arg) for arg in args])
        streams = capsys.readouterr()
        return Ran(status, streams.out, streams.err)

    return running

"""main: whatever goes wrong becomes one line and an exit status; only a mistake of ours shows a traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mistral7b.cli import terminal
from mistral7b.errors import ConfigError
from tests.cli.conftest import Run


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("two\nlines  and \x1b[2J"), "error: two lines and \u241b[2J\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "error: /x/y: Permission denied\n"),
        (OSError("odd"), "error: odd\n"),
        (MemoryError(), "error: memory ran out; "),
        (RuntimeError("CUDA out of memory. Tried to"), "error: memory ran out; "),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "error: memory ran out; "),
    ],
)
def test_what_goes_wrong_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str) -> None:
    monkeypatch.setattr("mistral7b.store.names.resolve", raising(error))
    run("generate", "hello").fails_with(said)


def test_ctrl_c_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral7b.store.names.resolve", raising(KeyboardInterrupt()))
    ran = run("generate", "hello")
    assert (ran.status, ran.out, ran.err) == (130, "", "\nmistral7b: stopped\n")


def test_a_mistake_of_ours_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral7b.store.names.resolve", raising(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        run("generate", "hello")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("verifyy",), "No such command 'verifyy'. Did you mean 'verify'? Try 'mistral7b --help'"),
        (("--loud",), "No such option: --loud. Try 'mistral7b --help'"),
        (("verify",), "Missing argument 'MODEL'. Try 'mistral7b verify --help'"),
        (("verify", "a", "b"), "Try 'mistral7b verify --help'"),
        (("generate", "hello", "--seed"), "Option '--seed' requires an argument. Try 'mistral7b"),
    ],
)
def test_usage_errors_point_to_the_help(run: Run, args: tuple[str, ...], said: str) -> None:
    run(*args).fails_with(said)


def test_names_that_lead_nowhere(run: Run, tmp_path: Path) -> None:
    run("generate", "hello", "-m", tmp_path / "none").fails_with("does not exist")
    run("generate", "hello", "-m", "v0.9").fails_with("there is no model 'v0.9'")
    (tmp_path / "file.txt").write_text("x")
    run("verify", tmp_path / "file.txt", "--write-manifest").fails_with("holds no model file")


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [(0, "0 B"), (571, "571 B"), (999, "999 B"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (14_496_078_512, "14.5 GB"),
     (2 * 10**13, "20,000.0 GB")],
)  # fmt: skip
def test_sizes(n_bytes: int, shown: str) -> None:
    assert terminal.size(n_bytes) == shown


def test_a_bar_shows_only_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal.progress("loading", at_least=10) as show:
        show(1, 100)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress("loading [x]", at_least=10) as show:
        show(1, 9)
    assert capsys.readouterr().err == ""
    with terminal.progress("loading [x]", at_least=10) as show:
        show(50, 100)
    assert "loading [x]" in capsys.readouterr().err

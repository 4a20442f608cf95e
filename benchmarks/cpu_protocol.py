"""How the driver of cpu_inference.py and its workers talk: one JSON object a line, over the worker's stdin and stdout.

The driver sends {"do": "prefill", "tokens": 512}; the worker answers {"ok": ...} or {"error": "one line"}. A worker runs in an
environment of its own, so this file uses the standard library only. A library that prints must not break the framing: what goes
to file descriptor 1 lands on stderr, and answers have a descriptor of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

Answer = dict[str, Any]
_PR_SET_PDEATHSIG = 1
_FAREWELL_S = 10.0


class WorkerError(Exception):
    """One line: what a worker said went wrong, or how it ended."""


class Overtime(WorkerError):
    """A command ran past its limit; the worker has been ended."""


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """The worker's side: answer commands until stdin ends. A command's fields are its keyword arguments."""
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        fields = json.loads(line)
        try:
            answer: Answer = {"ok": commands[fields.pop("do")](**fields)}
        except Exception as error:  # noqa: BLE001  whatever a library raises is told, and the worker lives on
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _end_with_parent() -> None:
    """A worker may be stopped when its driver is killed, and would never see that its stdin ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Worker:
    """The driver's side: one process that answers one command at a time and is stopped (SIGSTOP) in between.

    A stopped process cannot spin, so the cores are free for whoever is measured next.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        self._selector = selectors.DefaultSelector()
        self._selector.register(_pipe(self._process.stdout), selectors.EVENT_READ)
        self._pending = b""

    def ask(self, do: str, limit_s: float | None = None, **fields: Any) -> Any:
        """The answer to one command. Raises WorkerError; Overtime after `limit_s`."""
        self._process.send_signal(signal.SIGCONT)
        try:
            _pipe(self._process.stdin).write(json.dumps({"do": do, **fields}).encode() + b"\n")
            _pipe(self._process.stdin).flush()
        except OSError:
            raise WorkerError(self._ended()) from None
        answer = json.loads(self._line(limit_s))
        self._process.send_signal(signal.SIGSTOP)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["ok"]

    def _line(self, limit_s: float | None) -> bytes:
        end = None if limit_s is None else time.monotonic() + limit_s
        while b"\n" not in self._pending:
            left = None if end is None else end - time.monotonic()
            if not self._selector.select(left):
                self.end()
                raise Overtime(f"ended after {limit_s:.0f} s")
            found = os.read(_pipe(self._process.stdout).fileno(), 1 << 16)
            if not found:
                raise WorkerError(self._ended())
            self._pending += found
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL_S)
        last = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return f"the worker ended ({self._process.returncode}): {last[0]} (see {self._log})"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the process and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe

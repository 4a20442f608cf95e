"""Watches a program until it ends, and ends it when it has had enough."""

from __future__ import annotations

import json
import os
import selectors
import signal
import stat
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral7b.evals.sandbox.verdict import Limits, Outcome, Verdict

_START = 60.0  # seconds that an interpreter may take to be ready, on a busy machine
_TURN = 0.02  # seconds between two looks
_ANSWER = 64 << 10  # bytes of what it says of itself that are read


@dataclass
class Watch:
    """One program: its process (the leader of its group), the pipes it answers and prints to, its folder, the token that only
    its runner knows."""

    process: subprocess.Popen[bytes]
    answers: int
    printed: int
    folder: Path
    token: str
    limits: Limits
    said: bytearray = field(default_factory=bytearray)
    output: bytearray = field(default_factory=bytearray)
    started: float | None = None

    def until_the_end(self) -> Verdict:
        """Waits, within the limits. Nothing of its group is left alive."""
        born = time.monotonic()
        try:
            stopped = self._watched(born)
        finally:
            self._end()
        for pipe in (self.answers, self.printed):
            while self._read(pipe):
                pass
        seconds = time.monotonic() - (self.started or born)
        outcome, line = stopped or self._said() or self._by_its_end()
        return Verdict(outcome, line, seconds, self.output.decode(errors="replace"))

    def _watched(self, born: float) -> tuple[Outcome, str] | None:
        """What it was stopped for; None if it ended by itself."""
        with selectors.DefaultSelector() as ready:
            for pipe in (self.answers, self.printed):
                os.set_blocking(pipe, False)
                ready.register(pipe, selectors.EVENT_READ)
            while self.process.poll() is None:
                for key, _ in ready.select(_TURN):
                    if not self._read(key.fd):
                        ready.unregister(key.fd)
                now = time.monotonic()
                if self.started is None:
                    self.started = now if b"\n" in self.said else None
                    if now - born > _START:
                        return Outcome.TIMED_OUT, f"not started within {_START:.0f} s"
                elif now - self.started > self.limits.seconds:
                    return Outcome.TIMED_OUT, f"longer than {self.limits.seconds:g} s"
                elif (excess := self._excess()) is not None:
                    return Outcome.REFUSED, excess
        return None

    def _read(self, pipe: int) -> bool:
        """Takes what a pipe has, keeps what the limits keep; False at its end, or if it has nothing."""
        try:
            some = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return False
        kept, most = (self.said, _ANSWER) if pipe == self.answers else (self.output, self.limits.output)
        kept += some[: most - len(kept)]
        return bool(some)

    def _excess(self) -> str | None:
        """Threads and files are counted from outside: no limit of the kernel counts those of root."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            status = ""
        threads = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:")), 1)
        if threads > self.limits.threads:
            return f"more than {self.limits.threads} threads"
        size, entries = self._unlinked(), 0
        folders = [self.folder]
        while folders and entries <= self.limits.files and size <= self.limits.disk:
            try:
                with os.scandir(folders.pop()) as found:
                    for entry in found:
                        entries += 1
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(Path(entry.path))
            except OSError:  # gone since, or closed by the program
                continue
        if entries > self.limits.files:
            return f"more than {self.limits.files:,} files"
        return f"more than {self.limits.disk:,} bytes of files" if size > self.limits.disk else None

    def _unlinked(self) -> int:
        """Bytes of disk of files that have no name left and are still open."""
        sizes = {}
        with suppress(OSError), os.scandir(f"/proc/{self.process.pid}/fd") as found:  # which fails once it has ended
            for entry in found:
                with suppress(OSError):  # closed since
                    file = entry.stat()
                    if stat.S_ISREG(file.st_mode) and file.st_nlink == 0:
                        sizes[file.st_dev, file.st_ino] = file.st_blocks * 512
        return sum(sizes.values())

    def _end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def _said(self) -> tuple[Outcome, str] | None:
        """What its runner says of it, if it is its runner that speaks."""
        for line in reversed(bytes(self.said).splitlines()):
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # of what the program may have written there
                found: Any = json.loads(line)
                if found["token"] == self.token:
                    said = "".join(sign if sign.isprintable() else "?" for sign in str(found["line"]))
                    return Outcome(found["outcome"]), said
        return None

    def _by_its_end(self) -> tuple[Outcome, str]:
        """What the end of the process alone says: its tests were not through."""
        status = self.process.returncode
        if status >= 0:
            return Outcome.FAILED, f"ended before its tests were through, with exit status {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        if name == "SIGXCPU":
            return Outcome.TIMED_OUT, f"more than {self.limits.cpu} s of CPU"
        if name == "SIGKILL":  # not by this watch
            return Outcome.OUT_OF_MEMORY, "killed by the system"
        return Outcome.FAILED, f"died of {name}"

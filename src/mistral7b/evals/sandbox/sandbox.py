"""Runs programs contained, several at a time."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from mistral7b.errors import SandboxError
from mistral7b.evals.sandbox import inside, landlock
from mistral7b.evals.sandbox.folders import program_folder, sweep
from mistral7b.evals.sandbox.system import machine
from mistral7b.evals.sandbox.verdict import Limits, Outcome, Verdict
from mistral7b.evals.sandbox.watch import Watch

WAYS = (("seccomp", "landlock"), ("seccomp", "mounts"))  # in the order in which they are tried
_LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
_DEVICES = ("/dev/zero", "/dev/urandom", "/dev/random")

_TRIAL = """
import os, socket
attempts = {
    "a socket": socket.socket, "another process": os.fork, "writing": lambda: open(f"{OUTSIDE}/new", "w"),
    "reading": lambda: open(f"{OUTSIDE}/old"),
}
for what, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    raise RuntimeError(f"{what} is not refused")
open("mine", "w").close()
"""


class Sandbox:
    """Where generated programs run: each a Python script in a process of its own, with an empty environment, a temporary folder
    as its working folder and home, no standard input, the standard library and nothing else to import.

    `ways` says what contains them on this machine: ("seccomp", "landlock") or ("seccomp", "mounts"), proved by a trial at
    birth. Contained means: no socket, no other process, no file
    written outside its folder, none read but the standard library's, no signal to anybody else, limits (`Limits`), and nothing of
    it alive afterwards. Not contained: what it does to itself. A
    program made to be taken for one that passes can be; one that merely ends early is not. Time is counted from where the
    interpreter is ready.

    Raises SandboxError where nothing contains programs, unless `force`: then `ways` is empty, and only limits hold.
    """

    def __init__(
        self, limits: Limits | None = None, *, workers: int = 2, force: bool = False, ways: Sequence[Sequence[str]] = WAYS
    ) -> None:
        self.limits, self.workers = limits or Limits(), workers
        sweep()
        reasons = []
        for way in ways:
            self.ways = tuple(way)
            verdict = self._tried()
            if verdict.passed:
                return
            reasons.append(f"{' and '.join(way)}: {verdict.line}")
        if not force:
            raise SandboxError(
                f"generated programs cannot be contained here ({'; '.join(reasons)}); run them on Linux 6.2 or newer, x86-64 or "
                "aarch64, or in a container that allows landlock"
            )
        self.ways = ()

    def run(self, program: str, limits: Limits | None = None) -> Verdict:
        """Runs one program, as a script, to its end. Raises SandboxError if it cannot be started."""
        return self._run(program, limits or self.limits)

    def run_many(self, programs: Sequence[str], progress: Callable[[int, int], None] | None = None) -> tuple[Verdict, ...]:
        """Runs programs, `workers` at a time; verdicts in their order. `progress` is told (done, in all)."""
        with ThreadPoolExecutor(self.workers) as pool:
            running = [pool.submit(self.run, program) for program in programs]
            try:
                for done, one in enumerate(as_completed(running), 1):
                    one.result()
                    if progress is not None:
                        progress(done, len(programs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return tuple(one.result() for one in running)

    def _tried(self) -> Verdict:
        if machine() is None:
            return Verdict(Outcome.FAILED, f"not on {sys.platform}", 0.0, "")
        if "landlock" in self.ways and landlock.abi() < landlock.LEAST_ABI:
            return Verdict(Outcome.FAILED, f"the kernel's version is {landlock.abi()}, {landlock.LEAST_ABI} is needed", 0.0, "")
        with tempfile.TemporaryDirectory(prefix="mistral7b-outside-") as outside:
            (Path(outside) / "old").touch()
            try:
                return self._run(f"OUTSIDE = {outside!r}\n{_TRIAL}", Limits())
            except SandboxError as error:
                return Verdict(Outcome.FAILED, str(error), 0.0, "")

    def _run(self, program: str, limits: Limits) -> Verdict:
        with program_folder() as folder:
            home, root = folder / "home", folder / "root"
            home.mkdir(mode=0o700)
            root.mkdir(mode=0o700)
            return self._watched(program, limits, home, root)

    def _watched(self, program: str, limits: Limits, home: Path, root: Path) -> Verdict:
        answers, answering = os.pipe()
        printed, printing = os.pipe()
        token = secrets.token_hex(16)
        task = {
            "program": program, "limits": asdict(limits), "ways": self.ways, "token": token, "answers": answering,
            "parent": os.getpid(), "readable": [*_library(), *_LIBRARIES, *_DEVICES], "writable": [str(home), os.devnull],
            "root": str(root),
        }  # fmt: skip
        try:
            with tempfile.TemporaryFile() as wanted:
                wanted.write(json.dumps(task).encode())
                wanted.seek(0)
                try:
                    process = subprocess.Popen(
                        [_interpreter(), "-P", "-s", "-S", "-B", inside.__file__],
                        stdin=wanted, stdout=printing, stderr=printing, cwd=home, pass_fds=(answering,), start_new_session=True,
                        env={"HOME": str(home), "TMPDIR": str(home), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
                    )  # fmt: skip
                finally:
                    os.close(answering)
                    os.close(printing)
            watch = Watch(process, answers, printed, home, token, limits)
            verdict = watch.until_the_end()
        except OSError as error:
            raise SandboxError(f"a program cannot be started here: {error.strerror or error}") from None
        finally:
            os.close(answers)
            os.close(printed)
        if b'{"ready": true}' not in watch.said:
            refusal = bytes(watch.said).decode(errors="replace").strip() or verdict.output.strip()[-200:] or verdict.line
            raise SandboxError(f"a program cannot be contained here: {refusal}")
        return verdict


def _interpreter() -> str:
    """The Python that this environment was made from: what was installed into the environment is not for programs."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _library() -> list[str]:
    """Folders of the interpreter's own libraries and of the standard library, the wider ones first."""
    paths = [sysconfig.get_path(name, vars={"platbase": sys.base_exec_prefix}) for name in ("stdlib", "platstdlib")]
    return [str(path) for path in (sysconfig.get_config_var("LIBDIR"), *paths) if path]

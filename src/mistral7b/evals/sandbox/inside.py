"""Runs one program, after this process has given up all that the program is not to have. Started by `Sandbox` as a script.

Standard input holds what is to be done (JSON); the number of the pipe for answers is in it. Answers are two lines of JSON:
{"ready": true} once everything is in force, then what became of the program. A program that ends the process gives no second
line, and one that would write it must know the token of this run.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import site
import sys
import types
from contextlib import suppress
from errno import EACCES, EFBIG, EMFILE, EPERM, EROFS
from typing import Any

PROGRAM = "program.py"  # its name in tracebacks


def main() -> None:
    task = json.load(sys.stdin)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        confine(task)
    except (OSError, ValueError, AttributeError) as error:
        os.write(task["answers"], json.dumps({"ready": False, "line": str(error)}).encode() + b"\n")
        os._exit(1)
    os.write(task["answers"], b'{"ready": true}\n')
    run(task["program"], task["answers"], task["token"])


def confine(task: dict[str, Any]) -> None:
    """Limits of this process, then the ways that were chosen. Raises OSError if one of them is not to be had."""
    limits = task["limits"]
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1))  # first a signal that says why, then death
    for what, limit in (
        (resource.RLIMIT_AS, limits["memory"]), (resource.RLIMIT_FSIZE, limits["file"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(what, (limit, limit))
    if not task["ways"]:
        return
    from mistral7b.evals.sandbox import landlock, mounts, seccomp, system

    system.call("prctl", system.PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != task["parent"]:
        os._exit(1)
    if "mounts" in task["ways"]:
        mounts.restrict(task["readable"], task["writable"], task["root"])
    system.drop_capabilities()
    if "landlock" in task["ways"]:
        landlock.restrict(task["readable"], task["writable"])
    seccomp.restrict()


def run(source: str, answers: int, token: str) -> None:
    """The program as a script, in a module of its own; then one line about it, and the end of the process."""
    write, leave, dumps, flush = os.write, os._exit, json.dumps, sys.stdout.flush
    spare = bytearray(1 << 20)  # to speak of a lack of memory takes some
    found = {"outcome": "passed", "line": "", "token": token}
    try:
        module = types.ModuleType("__main__")
        for name in [name for name in sys.modules if name.split(".")[0] == "mistral7b"]:
            del sys.modules[name]
        sys.modules["__main__"] = module
        sys.path[:] = [path for path in sys.path if path != _packages()]
        sys.argv = [PROGRAM]
        site.setquit()  # exit and quit, which scripts know
        exec(compile(source, PROGRAM, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 -- what this place is for
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the verdict
        del spare
        found = {"token": token, **described(error, source)}
    with suppress(BaseException):  # a closed or replaced stream is the program's own affair
        flush()
    write(answers, dumps(found).encode() + b"\n")
    leave(0)


def described(error: BaseException, source: str) -> dict[str, str]:
    """Outcome and line for an exception: its type, its text, and of a bare assert the statement."""
    if isinstance(error, SystemExit):
        return {"outcome": "failed", "line": "SystemExit: ended before its tests were through"}
    try:
        text = (str(error).splitlines() or [""])[0]
        if isinstance(error, AssertionError) and not text:
            text = _statement(error, source)
        line = f"{type(error).__name__}: {text[:200]}"
    except BaseException:  # noqa: BLE001 -- the text of an exception is made by the program
        line = type(error).__name__
    if isinstance(error, MemoryError):
        return {"outcome": "out of memory", "line": line}
    return {"outcome": "refused" if _refused(error) else "failed", "line": line}


def _refused(error: BaseException | None) -> bool:
    """Whether it comes of what the sandbox does not allow: a permission, too many open files, a file too large, a name
    looked up."""
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in (EPERM, EACCES, EROFS, EMFILE, EFBIG):
            return True
        if type(error).__name__ == "gaierror":
            return True
        error = error.__cause__ or error.__context__
    return False


def _statement(error: BaseException, source: str) -> str:
    """The source line where it was raised, the innermost of the program."""
    number, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == PROGRAM:
            number = trace.tb_lineno
        trace = trace.tb_next
    return source.splitlines()[number - 1].strip() if number else ""


def _packages() -> str:
    """The folder in which this package lies."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


if __name__ == "__main__":
    sys.path.append(_packages())
    main()

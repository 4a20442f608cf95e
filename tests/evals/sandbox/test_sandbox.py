"""Programs that mean harm, or do it: each is contained, and the verdict says what became of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import mistral7b
from mistral7b.errors import SandboxError
from mistral7b.evals.sandbox.sandbox import WAYS, Sandbox
from mistral7b.evals.sandbox.system import machine
from mistral7b.evals.sandbox.verdict import Limits, Outcome
from mistral7b.evals.sandbox.watch import Watch

pytestmark = pytest.mark.skipif(machine() is None, reason="programs are contained on Linux, x86-64 and aarch64")

SHORT = Limits(cpu=2, seconds=30, memory=256 << 20, file=2 << 20, disk=4 << 20, files=50)

HARM = {
    "fork bomb": ("import os\nwhile True:\n    os.fork()", Outcome.REFUSED, "PermissionError"),
    "swallowed fork bomb": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        Outcome.TIMED_OUT, "longer than",
    ),
    "a shell": ("import subprocess\nsubprocess.run('echo', shell=True)", Outcome.REFUSED, "PermissionError"),
    "another program": ("import os\nos.execv('/bin/echo', ['echo'])", Outcome.REFUSED, "PermissionError"),
    "thread bomb": (
        "import threading\nlock = threading.Lock()\nlock.acquire()\nthreading.stack_size(32768)\n"
        "while True:\n    threading.Thread(target=lock.acquire).start()", Outcome.REFUSED, "more than 32 threads",
    ),
    "endless loop": ("while True:\n    pass", Outcome.TIMED_OUT, "longer than 0.3 s"),
    "endless loop in C": ("10 ** 10 ** 10", Outcome.TIMED_OUT, "longer than"),
    "10 GiB": ("x = bytearray(10 << 30)", Outcome.OUT_OF_MEMORY, "MemoryError"),
    "memory bit by bit": ("x = []\nwhile True:\n    x.append(bytearray(1 << 24))", Outcome.OUT_OF_MEMORY, "MemoryError"),
    "a socket": ("import socket\nsocket.create_connection(('127.0.0.1', 9))", Outcome.REFUSED, "PermissionError"),
    "a name looked up": ("import socket\nsocket.getaddrinfo('localhost.invalid', 80)", Outcome.REFUSED, "gaierror"),
    "a Unix socket": ("import socket\nsocket.socketpair()[0].connect('/dev/log')", Outcome.REFUSED, "PermissionError"),
    "killing the parent": ("import os\nos.kill(os.getppid(), 9)", Outcome.REFUSED, "PermissionError"),
    "killing everybody": ("import os\nos.kill(-1, 9)", Outcome.REFUSED, "PermissionError"),
    "limits of the parent": (
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (9, 9))", Outcome.REFUSED, "PermissionError",
    ),
    "higher limits": ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (999, 999))", Outcome.FAILED, "ValueError"),
    "a large file": ("open('large', 'wb').write(bytes(3 << 20))", Outcome.REFUSED, "File too large"),
    "large files": (
        "for i in range(9):\n    open(str(i), 'wb').write(bytes(1 << 20))\nwhile True: pass", Outcome.REFUSED, "bytes of files",
    ),
    "large files without a name": (
        "import os\nkept = []\nfor i in range(9):\n    kept.append(open('x', 'wb', buffering=0))\n    os.remove('x')\n"
        "    kept[-1].write(bytes(1 << 20))\nwhile True: pass", Outcome.REFUSED, "bytes of files",
    ),
    "many files": ("import os\nfor i in range(99):\n    os.mkdir(str(i))\nwhile 1: pass", Outcome.REFUSED, "more than 50 files"),
    "many open files": ("x = [open('file') for i in [open('file', 'w')] * 99]", Outcome.REFUSED, "Too many open files"),
    "a flood of text": ("while True:\n    print('x' * 9999)", Outcome.TIMED_OUT, ""),
    "its death": ("import ctypes\nctypes.string_at(0)", Outcome.FAILED, "SIGSEGV"),
    "deep recursion": ("def f():\n    f()\nf()", Outcome.FAILED, "RecursionError"),
    "its own end": ("import os\nos._exit(0)\nassert False", Outcome.FAILED, "exit status 0"),
    "its polite end": ("exit()\nassert False", Outcome.FAILED, "SystemExit"),
    "a signal to itself": ("import os\nos.kill(os.getpid(), 15)\nassert False", Outcome.FAILED, "SIGTERM"),
    "an exception without text": ("class E(Exception):\n    def __str__(self):\n        raise E\nraise E", Outcome.FAILED, "E"),
    "modules replaced": (
        "import sys\nsys.modules.clear()\nsys.modules['json'] = sys.modules['os'] = 1\nassert False",
        Outcome.FAILED, "assert False",
    ),
    "functions replaced": (
        "import os, json\nos.write = os._exit = json.dumps = print\nassert False", Outcome.FAILED, "assert False",
    ),
    "a false answer": (
        "import os\nlie = b'{\"outcome\": \"passed\", \"line\": \"\", \"token\": \"\"}\\n'\nfor fd in range(3, 20):\n"
        "    try:\n        os.write(fd, lie + b'[' * 50000 + b'\\n{}\\n1\\n')\n    except OSError:\n        pass\nos._exit(0)",
        Outcome.FAILED, "exit status 0",
    ),
    "a closed answer": ("import os\nos.closerange(0, 64)", Outcome.FAILED, "ended before"),
    "a coloured exception": ("raise ValueError('\\x1b[31mred')", Outcome.FAILED, "ValueError: ?[31mred"),
    "no Python": ("def f(:", Outcome.FAILED, "SyntaxError"),
    "this package": ("import mistral7b", Outcome.FAILED, "ModuleNotFoundError"),
    "an installed package": ("import numpy", Outcome.FAILED, "ModuleNotFoundError"),
    "input": ("input()", Outcome.FAILED, "EOFError"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(SHORT)
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left() -> Iterator[None]:
    """No process of ours outlives the programs."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize("name", HARM)
def test_harm_is_contained_and_reported(sandbox: Sandbox, name: str) -> None:
    program, outcome, line = HARM[name]
    verdict = sandbox.run(program, replace(SHORT, seconds=0.3) if outcome is Outcome.TIMED_OUT else None)
    assert not verdict.passed
    assert outcome is None or verdict.outcome is outcome, verdict
    assert line in verdict.line
    assert "\n" not in verdict.line
    assert len(verdict.output) <= SHORT.output


OUTSIDE = """
import os
FILE = FOLDER + "/file"
def through_a_link():
    os.symlink(FILE, "link")
    open("link", "a").write("x")
attempts = {
    "write": lambda: open(FILE, "a").write("x"),
    "make a file": lambda: open(FOLDER + "/new", "w"),
    "make a folder": lambda: os.mkdir(FOLDER + "/folder"),
    "link": lambda: os.link(FILE, "mine"),
    "move": lambda: os.rename(FILE, "mine"),
    "replace": lambda: os.rename("own", FILE),
    "remove": lambda: os.remove(FILE),
    "cut": lambda: os.truncate(FILE, 0),
    "empty": lambda: os.open(FILE, os.O_RDONLY | os.O_TRUNC),
    "mode": lambda: os.chmod(FILE, 0o777),
    "times": lambda: os.utime(FILE, (1, 1)),
    "owner": lambda: os.chown(FILE, 1, 1),
    "attribute": lambda: os.setxattr(FILE, "user.a", b"1"),
    "read": lambda: open(FILE).read(),
    "list": lambda: os.listdir(FOLDER),
    "through a link": through_a_link,
    "device": lambda: os.mknod("device", 0o20666, os.makedev(1, 1)),
    "secrets": lambda: open("/etc/shadow").read(),
    "environment": lambda: open("/proc/self/environ").read(),
    "processes": lambda: open("/proc/1/cmdline").read(),
    "memory": lambda: open("/dev/mem").read(1),
    "library": lambda: open(os.__file__, "a"),
    "mode of a library": lambda: os.chmod(os.__file__, 0o666),
}
open("own", "w").close()
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
"""


def harmless(sandbox: Sandbox, folder: Path) -> None:
    """Every attempt on a folder that is not the program's fails, and leaves it as it was."""
    (folder / "file").write_text("precious")
    before = (folder / "file").stat()
    verdict = sandbox.run(f"FOLDER = {str(folder)!r}\n{OUTSIDE}")
    assert (verdict.outcome, verdict.output) == (Outcome.PASSED, "")
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert (folder / "file").read_text() == "precious"
    after = (folder / "file").stat()
    for what in ("st_mode", "st_uid", "st_mtime_ns", "st_nlink", "st_ino"):
        assert getattr(before, what) == getattr(after, what)


def test_nothing_outside_its_folder_is_read_or_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    harmless(sandbox, tmp_path)


def test_a_program_may_do_what_programs_do(sandbox: Sandbox) -> None:
    verdict = sandbox.run(
        "import asyncio, collections, ctypes, dataclasses, datetime, decimal, hashlib, heapq, math, os, pickle, random, re, "
        "sqlite3, statistics, sys, tempfile, threading, typing, zoneinfo\n"
        "assert __name__ == '__main__' and sys.argv == ['program.py']\n"
        "assert set(os.environ) <= {'HOME', 'TMPDIR', 'PYTHONHASHSEED', 'PYTHONUTF8', 'LC_CTYPE'}\n"
        "@dataclasses.dataclass\nclass A:\n    x: int\n"
        "assert pickle.loads(pickle.dumps(A(1))) == A(1)\n"
        "open('file', 'w').write('é')\nassert open(os.path.expanduser('~/file')).read() == 'é'\nos.remove('file')\n"
        "with tempfile.TemporaryDirectory() as folder:\n    open(folder + '/x', 'w').close()\n"
        "thread = threading.Thread(target=print, args=('from a thread',))\nthread.start()\nthread.join()\n"
        "async def nap():\n    await asyncio.sleep(0)\nasyncio.run(nap())\n"
        "print('done', flush=True)\n"
    )
    assert verdict.passed, verdict
    assert verdict.line == ""
    assert verdict.output == "from a thread\ndone\n"


def test_a_verdict_repeats(sandbox: Sandbox) -> None:
    program = "print(list({'a', 'b', 'c', 'd'}), hash('x'))"
    assert sandbox.run(program).output == sandbox.run(program).output


def test_several_at_a_time_in_their_order(sandbox: Sandbox) -> None:
    seen: list[tuple[int, int]] = []
    verdicts = Sandbox(SHORT, workers=4).run_many([f"assert {n} % 3" for n in range(9)], lambda *done: seen.append(done))
    assert [verdict.passed for verdict in verdicts] == [n % 3 != 0 for n in range(9)]
    assert seen == [(n, 9) for n in range(1, 10)]
    assert json.loads(json.dumps(verdicts[0].to_json())) == {
        "outcome": "failed", "line": "AssertionError: assert 0 % 3", "seconds": verdicts[0].seconds, "output": "",
    }  # fmt: skip


def test_what_waits_is_ended_by_the_clock(sandbox: Sandbox) -> None:
    verdict = sandbox.run("import time\nprint('waiting', flush=True)\ntime.sleep(999)", replace(SHORT, seconds=0.2))
    assert (verdict.outcome, verdict.line, verdict.output) == (Outcome.TIMED_OUT, "longer than 0.2 s", "waiting\n")


def test_what_computes_is_ended_by_its_own_time(sandbox: Sandbox) -> None:
    verdict = sandbox.run("while True: pass", replace(SHORT, cpu=1))
    assert (verdict.outcome, verdict.line) == (Outcome.TIMED_OUT, "more than 1 s of CPU")


def test_folders_closed_or_deep_are_removed(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox.run("import os\nos.makedirs('a/b')\nos.mkdir('c', 0)\nfor _ in range(200):\n    os.mkdir('d')\n    os.chdir('d')")
    assert list(tmp_path.iterdir()) == []


OTHER = """
import sys, tempfile
from mistral7b.evals.sandbox.folders import program_folder
tempfile.tempdir = sys.argv[1]
with program_folder() as folder:
    (folder / "file").touch()
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_swept_up_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others, folders = [], []
    for _ in range(2):
        others.append(subprocess.Popen([sys.executable, "-c", OTHER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert others[-1].stdout is not None
        folders.append(tmp_path / others[-1].stdout.readline().decode().strip())
    (tmp_path / "mistral7b-sandbox-link").symlink_to(folders[0])
    others[0].kill()
    others[0].communicate()
    before = set(tmp_path.iterdir())
    assert set(folders) < before
    Sandbox(SHORT, ways=[], force=True)
    assert set(tmp_path.iterdir()) == before - {folders[0]}
    others[1].communicate()
    assert not folders[1].exists()


def test_where_nothing_contains_a_program_it_is_not_run() -> None:
    with pytest.raises(SandboxError, match="cannot be contained here") as caught:
        Sandbox(ways=[])
    assert "\n" not in str(caught.value)


def test_forced_it_runs_within_limits_and_leaves_no_process() -> None:
    sandbox = Sandbox(SHORT, ways=[], force=True)
    assert sandbox.ways == ()
    assert sandbox.run("x = bytearray(10 << 30)").outcome is Outcome.OUT_OF_MEMORY
    verdict = sandbox.run("import os, time\nchild = os.fork()\nif child == 0:\n    time.sleep(999)\nprint(child)")
    assert verdict.passed
    child = int(verdict.output)
    if psutil.pid_exists(child):  # perhaps not yet collected
        psutil.wait_procs([psutil.Process(child)], timeout=30)
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_limits_are_above_nought() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Limits(cpu=0)


def test_a_program_that_ends_before_anybody_looks(tmp_path: Path) -> None:
    answers, answering = os.pipe()
    printed, printing = os.pipe()
    os.write(answering, b'{"ready": true}\n{"outcome": "passed", "line": "", "token": "secret"}\n')
    os.write(printing, b"quick")
    os.close(answering)
    os.close(printing)
    process = subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)
    process.wait()
    verdict = Watch(process, answers, printed, tmp_path, "secret", SHORT).until_the_end()
    os.close(answers)
    os.close(printed)
    assert (verdict.outcome, verdict.output) == (Outcome.PASSED, "quick")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_contains(way: tuple[str, ...], tmp_path: Path) -> None:
    try:
        sandbox = Sandbox(SHORT, ways=[way])
    except SandboxError as error:
        pytest.skip(str(error))
    assert sandbox.ways == way
    harmless(sandbox, tmp_path)
    for program, outcome, _ in HARM.values():
        assert not sandbox.run(program, replace(SHORT, seconds=0.3) if outcome is Outcome.TIMED_OUT else None).passed
    assert sandbox.run("assert open(__import__('os').devnull, 'w').write('x') == 1").passed


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or not os.access("/usr/bin/python3", os.X_OK),
    reason="root and a Python for all needed",
)
def test_as_a_plain_user() -> None:
    """The same for nobody, whom this process, being root, can become; with the system's Python if it is new enough."""
    python, packages = "/usr/bin/python3", str(Path(mistral7b.__file__).parents[1])
    code = f"""
import sys
if sys.version_info < (3, 11):
    raise SystemExit(77)
sys.path.insert(0, {packages!r})
from mistral7b.evals.sandbox.sandbox import WAYS, Sandbox
for way in WAYS:
    box = Sandbox(ways=[way])
    assert box.run("1").passed
    assert not box.run("import os; os.fork()").passed
"""
    done = subprocess.run(
        [python, "-c", code], user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("the system's Python is older than 3.11")
    assert done.returncode == 0, done.stderr

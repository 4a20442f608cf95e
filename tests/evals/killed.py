"""Runs of the embedded model on small benchmarks, in processes that end themselves at a given moment, as a kill would.

python -m tests.evals.killed WHOLE KILLED MOMENT...: a run to its end in WHOLE, then in KILLED for each moment one that ends
there, at a write of an answer (half of it is in the file) or at a rename (before it), and one to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401  once for all children

from mistral7b.api import LLM
from mistral7b.evals import answers, whole
from mistral7b.evals.whole import Plan, Settings, run_all
from tests.evals.quiz import quizzes


class Mortal(answers.Answers):
    """A journal, and all renames of the process, that count down to its end."""

    left: int | None = None

    @classmethod
    def step(cls) -> bool:
        if cls.left is None:
            return False
        cls.left -= 1
        return cls.left < 0

    def put(self, key: str, value: Any) -> None:
        if self.step():
            assert self.path is not None
            with self.path.open("ab") as file:
                file.write(b'{"key": "' + key.encode()[:20])
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(key, value)


def run(out: Path) -> None:
    settings = Settings(("quizzes",), limit=3, seed=1)
    run_all(LLM("tiny", dtype="float32", max_num_seqs=4), {"name": "tiny"}, Plan(tuple(quizzes()), ()), settings, out=out,
            progress=lambda done, total, label="": None)  # fmt: skip


def child(out: Path, moment: int | None) -> None:
    """Runs in a process of its own, and prints how that ended: 0, or less the signal."""
    made = os.fork()
    if made == 0:
        Mortal.left = moment
        run(out)
        os._exit(0)
    _, status = os.waitpid(made, 0)
    sys.stdout.write(f"ended {os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()


def main() -> None:
    rename = os.replace

    def replace(source: Any, target: Any) -> None:
        if Mortal.step():
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    whole.Answers = Mortal  # type: ignore[misc]
    os.replace = replace  # type: ignore[assignment]
    undisturbed, killed, *moments = sys.argv[1:]
    child(Path(undisturbed), None)
    for moment in moments:
        child(Path(killed), int(moment))
    child(Path(killed), None)


if __name__ == "__main__":
    main()

"""A run of the embedded model on small benchmarks, in a process that ends itself at a given moment, as a kill would.

python -m tests.evals.killed OUT MOMENT...: for each moment a run that ends there, at a write of an answer (half of it is in the
file) or at a rename (before it), then a run to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from mistral7b.api import LLM
from mistral7b.evals import answers
from mistral7b.evals.whole import Plan, Settings, run_all
from tests.evals.quiz import quizzes

_MOMENTS = "moments"


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


def main() -> None:
    import mistral7b.evals.whole as whole

    rename = os.replace

    def replace(source: Any, target: Any) -> None:
        if Mortal.step():
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    whole.Answers = Mortal  # type: ignore[misc]
    os.replace = replace
    for moment in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            Mortal.left = int(moment)
            run(Path(sys.argv[1]))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(_MOMENTS, moment, os.WTERMSIG(status) if os.WIFSIGNALED(status) else "ended", flush=True)
    run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()

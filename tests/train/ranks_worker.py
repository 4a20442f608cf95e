"""One rank of a run, as `mistral7b pretrain` is one, which can be told to hang: python ranks_worker.py [--hang RANK STEP] ARGS"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from mistral7b.cli.main import main
from mistral7b.train.batches import Course, MicroBatch


def hang(rank: int, step: int) -> None:
    """Rank `rank` sleeps for ever when it is to take the rows of `step`, counted from 1; once, not after a restart."""
    if rank != int(os.environ.get("RANK", "0")) or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return
    taken = Course.micro_batches

    def sleeping(self: Course, at: int, *rest: int) -> Iterator[MicroBatch]:
        while at == step - 1:
            time.sleep(1)
        return taken(self, at, *rest)

    Course.micro_batches = sleeping  # type: ignore[method-assign]


if __name__ == "__main__":
    args = sys.argv[1:]
    if args[0] == "--hang":
        hang(int(args[1]), int(args[2]))
        args = args[3:]
    sys.exit(main(["pretrain", *args]))

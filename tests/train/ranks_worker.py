"""One rank of a run, as `mistral7b pretrain` or `finetune` is one, which can be told to hang or to fail, once, when it is to
take the rows of a step: python ranks_worker.py [--hang RANK STEP | --fail RANK STEP] VERB ARGS"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from mistral7b.cli.main import main
from mistral7b.errors import DataError

if TYPE_CHECKING:
    from mistral7b.train.batches import MicroBatch, Rows


def trouble(kind: str, rank: int, step: int) -> None:
    """At `step`, counted from 1, rank `rank` sleeps for ever or raises; not after a restart."""
    if rank != int(os.environ.get("RANK", "0")) or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return
    from mistral7b.train import pretrain as room

    taken = room.micro_batches

    def sleeping(source: Rows, at: int, *rest: Any) -> list[MicroBatch]:
        while at == step - 1:
            if kind == "--fail":
                raise DataError("no such rows")
            time.sleep(1)
        return taken(source, at, *rest)

    room.micro_batches = sleeping


if __name__ == "__main__":
    args = sys.argv[1:]
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as the command does before it imports torch
    if args[0].startswith("--"):
        trouble(args[0], int(args[1]), int(args[2]))
        args = args[3:]
    sys.exit(main(args))

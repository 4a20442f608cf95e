"""A watchdog for runs on several ranks: names the rank that hangs, or is gone, and ends the process that waits for it."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.distributed import distributed_c10d as c10d

from mistral7b.train.ranks import Ranks

HANGS = 3  # exit status; torchrun --max-restarts starts anew, and the run goes on from its last checkpoint


@dataclass(frozen=True, slots=True)
class Beat:
    """What a rank last said: `count` signs of progress, where it was, and `ticks` of its thread, which ends with its process."""

    rank: int
    host: str
    pid: int
    count: int
    where: str
    ticks: int


def blamed(beats: list[Beat], known: dict[int, tuple[int, float]], now: float, patience: float) -> tuple[list[Beat], list[Beat]]:
    """(Ranks that are gone, ranks that are behind all others) among the latest `beats`.

    `known` keeps each rank's last ticks and when they were seen to change; no two clocks are compared.
    """
    gone = []
    for beat in beats:
        ticks, since = known.get(beat.rank, (-1, now))
        if beat.ticks != ticks:
            known[beat.rank] = (beat.ticks, now)
        elif now - since > patience:
            gone.append(beat)
    least = min(beat.count for beat in beats)
    return gone, [beat for beat in beats if beat.count == least]


class Watchdog:
    """Call `beat` at every step of progress. A thread tells the others, and looks at what they told; after `seconds` without
    progress here it says who is to blame, and ends this process with status HANGS: a collective cannot be interrupted."""

    def __init__(self, ranks: Ranks, seconds: float) -> None:
        self.ranks = ranks
        self.seconds = seconds
        self._count, self._where, self._since = 0, "starting", time.monotonic()
        self._stopped = threading.Event()
        self._known: dict[int, tuple[int, float]] = {}
        self._thread: threading.Thread | None = None
        if ranks.world > 1:
            store = c10d._get_default_store()
            self._store = c10d.PrefixStore(f"watchdog/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def follow(self, model: nn.Module) -> None:
        """A beat at each layer's forward."""
        if self._thread is not None:
            for layer in model.children():
                layer.register_forward_pre_hook(lambda *_: self.beat())

    def beat(self, where: str | None = None) -> None:
        """Progress: on to `where`, such as "step 12: optimizer"."""
        self._count += 1
        self._where = where or self._where
        self._since = time.monotonic()

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        ticks, pause = 0, min(1.0, self.seconds / 5)
        while not self._stopped.wait(pause):
            ticks += 1
            try:
                beats = self._exchange(ticks)
            except (RuntimeError, OSError) as error:
                if self._stopped.is_set():
                    return
                self._end(f"the store of rank 0 does not answer: its process or host is gone ({str(error).splitlines()[0]})")
            now = time.monotonic()
            gone, behind = blamed(beats, self._known, now, self.seconds / 2)
            if now - self._since > self.seconds:
                self._end(_told(gone, behind, self.ranks, now - self._since, self._where))

    def _exchange(self, ticks: int) -> list[Beat]:
        mine = Beat(self.ranks.rank, socket.gethostname(), os.getpid(), self._count, self._where, ticks)
        self._store.set(str(mine.rank), json.dumps(asdict(mine)))
        keys = [str(rank) for rank in range(self.ranks.world)]
        return [_read(self._store.get(key)) for key in keys if self._store.check([key])]

    def _end(self, line: str) -> None:
        sys.stderr.write(f"mistral7b: error: {line}\n")
        sys.stderr.flush()
        os._exit(HANGS)


def _read(text: bytes) -> Beat:
    found: dict[str, Any] = json.loads(text)
    return Beat(**found)


def _told(gone: list[Beat], behind: list[Beat], ranks: Ranks, seconds: float, where: str) -> str:
    waits = f"rank {ranks.rank} has waited {seconds:.0f} s ({where})"
    if gone:
        return f"{_names(gone)} gave no more sign of life; {waits}; start again to go on from the last checkpoint"
    return f"{_names(behind)} hangs; {waits}; start again to go on from the last checkpoint"


def _names(beats: list[Beat]) -> str:
    return ", ".join(f"rank {beat.rank} on {beat.host} (process {beat.pid}, {beat.where})" for beat in beats)

"""What ranks tell one another while they run: signs of life and of progress, and the words of one that ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta

import torch.distributed as dist

_END = "end"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a rank last said: `count` signs of progress, where it was, and `ticks` of its thread, which end with its process."""

    rank: int
    host: str
    pid: int
    count: int
    where: str
    ticks: int

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} (process {self.pid}, last at {self.where})"


class Board:
    """Where the ranks of one start write their beats: the store that they met at, on a connection of its own, since one that
    waits for an answer keeps others waiting. Any method raises RuntimeError when the store does not answer."""

    def __init__(self, world: int, start: str, seconds: float) -> None:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*place, is_master=False, timeout=timedelta(seconds=max(1.0, seconds)))  # type: ignore[attr-defined]
        self._store = dist.PrefixStore(f"beats/{start}", store)  # type: ignore[attr-defined]
        self._keys = [str(rank) for rank in range(world)]

    def exchange(self, mine: Beat) -> tuple[list[Beat], str | None]:
        """(The beats of the ranks that began, the words of one that ended in error)."""
        self._store.set(str(mine.rank), json.dumps(asdict(mine)))
        beats = [Beat(**json.loads(self._store.get(key))) for key in self._keys if self._store.check([key])]
        return beats, self._store.get(_END).decode() if self._store.check([_END]) else None

    def end(self, words: str) -> None:
        """The first to end says why; those that follow mostly do so because of it."""
        self._store.compare_set(_END, "", words)


class Heard:
    """The latest beat of each rank, and when it last changed by the clock of the one who listens: no two clocks are compared."""

    def __init__(self, now: float) -> None:
        self.beats: dict[int, Beat] = {}
        self.answered = now  # when the board last did
        self.end: tuple[str, float] | None = None
        self._since: dict[int, float] = {}

    def note(self, beats: Iterable[Beat], end: str | None, now: float) -> None:
        self.answered = now
        if end is not None and self.end is None:
            self.end = end, now
        for beat in beats:
            if beat.rank not in self.beats or self.beats[beat.rank].ticks != beat.ticks:
                self._since[beat.rank] = now
            self.beats[beat.rank] = beat

    def gone(self, patience: float) -> list[Beat]:
        """Ranks that had been silent for longer than `patience` seconds when the board last answered."""
        return [beat for rank, beat in self.beats.items() if self.answered - self._since[rank] > patience]

    def behind(self) -> list[Beat]:
        """Ranks that made the least progress."""
        least = min((beat.count for beat in self.beats.values()), default=0)
        return [beat for beat in self.beats.values() if beat.count == least]

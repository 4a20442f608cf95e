"""A watchdog for runs on several ranks: names the rank that hangs, failed or is gone, and ends the process that waits for it."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import torch.distributed as dist
from torch import nn

from mistral7b.errors import RanksError
from mistral7b.train.beats import Beat, Board, Heard
from mistral7b.train.ranks import Ranks

HANGS = 3  # exit status; torchrun --max-restarts starts anew, and the run goes on from its last checkpoint
_AT_ONCE = 10.0  # seconds in which a rank that lives surely says so
_NAMED = 4  # ranks at most in a line
_AGAIN = "start again to go on from the last checkpoint"


class Watchdog:
    """Call `beat` at every step of progress inside the block. One thread tells the others and hears them; another judges:
    after `seconds` without progress here it says who is to blame, and ends this process with status HANGS, since a
    collective cannot be interrupted. Alone it does nothing.

    An error that leaves the block is told to the others. That of a broken connection becomes a RanksError that names the
    rank that is gone.
    """

    def __init__(self, ranks: Ranks, seconds: float) -> None:
        self.ranks = ranks
        self.seconds = seconds
        self.patience = min(seconds / 2, _AT_ONCE)
        self.heard = Heard(time.monotonic())
        self._count, self._where, self._since = 0, "starting", time.monotonic()
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._board: Board | None = None
        self._deaf = False

    def __enter__(self) -> Watchdog:
        if self.ranks.world > 1:
            self._board = Board(self.ranks.world, self.ranks.told(uuid4().hex), self.seconds)
            for name, work in (("talks", self._talk), ("judges", self._judge)):
                threading.Thread(target=work, name=f"watchdog {name}", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._board is None:
            return
        try:
            if error is None:
                self._stopped.set()
                self.ranks.wait()  # the board may be rank 0's: it leaves when nobody reads there any more
            elif _is_lost(error):
                words = self._wait_for_verdict(error)
                self._tell(words)
                raise RanksError(f"{words}; rank {self.ranks.rank} was left ({self._where}); {_AGAIN}") from None
            else:
                self._tell(f"rank {self.ranks.rank} on {socket.gethostname()} ended: {_one_line(error)}")
        finally:
            self._stopped.set()

    def follow(self, model: nn.Module) -> None:
        """A beat at each layer's forward."""
        if self.ranks.world > 1:
            for layer in model.children():
                layer.register_forward_pre_hook(lambda *_: self.beat())

    def beat(self, where: str | None = None) -> None:
        """Progress: on to `where`, such as "step 12: optimizer"."""
        self._count += 1
        self._where = where or self._where
        self._since = time.monotonic()

    def _talk(self) -> None:
        assert self._board is not None
        host, ticks, pause = socket.gethostname(), 0, min(1.0, self.seconds / 10)
        while not self._stopped.wait(pause if ticks else 0):
            ticks += 1
            where = f"{self._where}, in {_function(self._watched)}"
            try:
                beats, end = self._board.exchange(Beat(self.ranks.rank, host, os.getpid(), self._count, where, ticks))
            except dist.DistNetworkError:
                self._deaf = True
                return  # the judge sees that it does not answer
            except RuntimeError:
                continue  # late, but the connection stands
            self.heard.note(beats, end, time.monotonic())

    def _judge(self) -> None:
        while not self._stopped.wait(min(1.0, self.seconds / 10)):
            now = time.monotonic()
            if (waited := now - self._since) > self.seconds:
                self._bite(self._verdict() or f"{_names(self.heard.behind())} hangs", waited)
            if (end := self.heard.end) is not None and now - end[1] > self.patience:
                self._bite(end[0], waited)

    def _tell(self, words: str) -> None:
        with suppress(RuntimeError):  # nobody is there to hear it
            if self._board is not None and not self._deaf:
                self._board.end(words)

    def _verdict(self) -> str | None:
        """Who is to blame; None while that cannot be told."""
        if self.heard.end is not None:
            return self.heard.end[0]
        if gone := self.heard.gone(self.patience):
            return f"{_names(gone)} gave no more sign of life"
        if self._deaf or time.monotonic() - self.heard.answered > self.patience:
            return f"{_holder(self.heard)} does not answer: its process, its host or the network is gone"
        return None

    def _wait_for_verdict(self, error: BaseException) -> str:
        limit = time.monotonic() + 1.5 * self.patience
        while (words := self._verdict()) is None:
            if time.monotonic() > limit:
                return f"a connection between ranks broke ({_one_line(error)})"
            time.sleep(0.1)
        return words

    def _bite(self, words: str, waited: float) -> None:
        line = f"{words}; rank {self.ranks.rank} has waited {waited:.0f} s ({self._where}); {_AGAIN}"
        if not self._stopped.is_set():
            sys.stderr.write(f"mistral7b: error: {line}\n")
            sys.stderr.flush()
            os._exit(HANGS)


def _is_lost(error: BaseException) -> bool:
    """Whether torch says that a connection to another rank broke, or that it waited too long for one."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _holder(heard: Heard) -> str:
    """Who holds the board: torchrun where it started the ranks, else rank 0."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or 0 not in heard.beats:
        return f"the store at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return str(heard.beats[0])


def _function(thread: int) -> str:
    """The innermost function of this package that a thread is in, and the innermost of all."""
    frame = innermost = sys._current_frames().get(thread)
    home = str(Path(__file__).parents[1])
    while frame is not None and not frame.f_code.co_filename.startswith(home):
        frame = frame.f_back
    names = [each.f_code.co_name for each in (frame, innermost) if each is not None]
    return " > ".join(dict.fromkeys(names)) or "no function"


def _names(beats: Sequence[Beat]) -> str:
    more = f" and {len(beats) - _NAMED} more" if len(beats) > _NAMED else ""
    return ", ".join(map(str, beats[:_NAMED])) + more


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

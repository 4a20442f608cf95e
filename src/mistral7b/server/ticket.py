"""A ticket: what a client holds while its request runs on the engine's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from mistral7b.completion import Completion
from mistral7b.outputs import Logprob
from mistral7b.server.errors import ApiError


@dataclass(frozen=True)
class Event:
    """What one engine step added to completion `index` of a ticket; one with a `finish_reason` is that completion's last.

    `call_text` is what follows the control id that begins tool calls. `logprobs` has one dict for each of `ids`.
    """

    index: int
    text: str
    call_text: str
    ids: list[int]
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None
    stop_reason: int | str | None


class Ticket:
    """Iterate over it once, in the loop that asked for it, for the events of all its completions as they come.

    Raises the ApiError that ended it: a deadline, a failure of the engine; after `cancel` it just ends. Nothing here blocks
    the engine's thread: what a slow client has not taken waits in a queue that the length of its answer bounds.
    """

    def __init__(self, completions: Sequence[Completion], cancel: Callable[[Ticket], None], deadline: float | None) -> None:
        self.completions = list(completions)
        self.deadline = deadline
        self.submitted = time.monotonic()
        self.begun: float | None = None  # when the first step began that ran any of it
        self.open = len(self.completions)  # completions that go on; counted by the worker
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[list[Event] | ApiError] = asyncio.Queue()

    @property
    def queue_s(self) -> float | None:
        """Seconds it waited; None while it does."""
        return None if self.begun is None else self.begun - self.submitted

    def cancel(self) -> None:
        """End what still runs; its pages are free before the next step. From any thread, any number of times."""
        self._cancel(self)

    async def __aiter__(self) -> AsyncIterator[Event]:
        left = len(self.completions)
        while left:
            given = await self._queue.get()
            if isinstance(given, ApiError):
                raise given
            if not given:  # cancelled
                return
            for event in given:
                left -= event.finish_reason is not None
                yield event

    def give(self, news: list[Event] | ApiError) -> None:
        """Hand news to the client's loop; the engine's thread calls this. A loop that has closed takes none."""
        if not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, news)
            except RuntimeError:  # it closed between the two lines: nobody is there to read
                self._cancel(self)

"""The worker: one thread that owns the engine. Everything that touches the engine happens there, between two steps."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from mistral7b.api import LLM
from mistral7b.completion import Completion
from mistral7b.server.errors import Draining, QueueFull, TooMany
from mistral7b.server.stepper import Stepper
from mistral7b.server.ticket import Event, Ticket

__all__ = ["Event", "Ticket", "Worker"]

T = TypeVar("T")


class Worker:
    """Runs `llm.engine` while there is work and sleeps otherwise.

    Submissions, cancellations and calls are orders, taken before the next step in the order they were given.
    `max_queue` is how many completions may be accepted beyond the `max_num_seqs` that can run at once. A step that raises
    ends the requests that were running, each with an error of its own, and the engine goes on with the others.
    """

    def __init__(self, llm: LLM, *, max_queue: int) -> None:
        self.draining = False
        self._engine = llm.engine
        self._most = max_queue + llm.engine.scheduler.max_num_seqs
        self._changed = threading.Condition()
        self._orders: list[Callable[[], None]] = []
        self._accepted = 0  # completions submitted and not yet ended
        self._stopping = False
        self._stepper = Stepper(llm.engine, self._settle)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End every request with an error and the thread with them; returns when it has ended."""
        self.draining = True
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self.alive:
            self._thread.join()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    @property
    def n_running(self) -> int:
        """Requests that hold pages."""
        return len(self._engine.scheduler.running)

    @property
    def n_waiting(self) -> int:
        """Requests accepted that hold none yet."""
        return max(0, self._accepted - self.n_running)

    def check(self, count: int) -> None:
        """Raises TooMany for a ticket of `count` completions, if no queue could be empty enough for it."""
        if count > self._most:
            raise TooMany(count, self._most)

    def submit(self, completions: Sequence[Completion], *, deadline: float | None) -> Ticket:
        """Queue `completions`, all or none; call it in an event loop. `deadline` is a time of `time.monotonic`.

        Raises Draining once the server is shutting down, QueueFull while too many wait, and what `check` raises.
        """
        self.check(len(completions))
        ticket = Ticket(completions, self._cancel, deadline)
        with self._changed:
            if self.draining or self._stopping:
                raise Draining
            if self._accepted + len(completions) > self._most:
                raise QueueFull(self.n_waiting)
            self._accepted += len(completions)
            self._orders.append(lambda: self._stepper.admit(ticket))
            self._changed.notify()
        return ticket

    async def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the engine's thread, between two steps; returns or raises what it does."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def order() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001 - it belongs to the caller, who waits for it
                    future.set_exception(error)

        with self._changed:
            if self._stopping:
                raise Draining
            self._order(order)
        return await asyncio.wrap_future(future)

    def _cancel(self, ticket: Ticket) -> None:
        if ticket.open:
            with self._changed:
                self._order(lambda: self._stepper.end(ticket))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._changed.notify()

    def _settle(self, ended: int) -> None:
        with self._changed:
            self._accepted -= ended

    def _run(self) -> None:
        stepper = self._stepper
        while True:
            with self._changed:
                while not (self._orders or self._stopping or stepper.busy):
                    self._changed.wait()
                orders, self._orders = self._orders, []
                stopping = self._stopping
            for order in orders:
                order()
            if stopping:
                stepper.close()
                return
            stepper.expire()
            if stepper.busy:
                stepper.step()

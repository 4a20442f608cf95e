"""Work done on several processes at once, its results in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from mistral7b.errors import DataError

Item = TypeVar("Item")
Made = TypeVar("Made")
_AHEAD = 4  # items a process that are out, or done before their turn


def in_order(work: Callable[[Item], Made], items: Iterable[Item], processes: int) -> Generator[Made, None, None]:
    """`map(work, items)` on `processes` spawned processes, at most four items a process ahead of what was taken.

    `work`, its items and what it makes are pickled; an item nested too deep for that is worked on in this process. Close the
    iterator when done with it (`contextlib.closing`): however it ends, its processes have ended then; one whose parent was
    killed ends by itself. Raises DataError for a process that ends early, which tells why on stderr.
    """
    given = enumerate(items)
    pipes: list[Connection] = []
    workers: list[BaseProcess] = []
    try:
        with _unheard():
            for _ in range(processes):
                _start(work, pipes, workers)
        yield from _results(work, given, pipes)
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        for pipe in pipes:
            pipe.close()


def _start(work: Callable[[Item], Made], pipes: list[Connection], workers: list[BaseProcess]) -> None:
    context = get_context("spawn")
    here, there = context.Pipe()
    pipes.append(here)
    with there:  # once it is the worker's alone, its end is seen here
        worker = context.Process(target=_serve, args=(there, work), daemon=True)
        worker.start()
    workers.append(worker)


def _results(work: Callable[[Item], Made], given: Iterator[tuple[int, Item]], pipes: list[Connection]) -> Iterator[Made]:
    """Only a process that waits is given an item, so that no pipe fills from both ends."""
    free, busy = list(pipes), list[Connection]()
    made: dict[int, Made] = {}
    turn = out = 0
    while True:
        try:
            while free and out - turn < _AHEAD * len(pipes) and (item := next(given, None)) is not None:
                out += 1
                try:
                    free[-1].send(item)
                except RecursionError:  # JSON may be nested deeper than pickles can be
                    made[item[0]] = work(item[1])
                else:
                    busy.append(free.pop())
            if turn == out:
                return
            ready = wait(busy) if busy else []
            for pipe in [pipe for pipe in busy if pipe in ready]:
                number, one = pipe.recv()
                made[number] = one
                busy.remove(pipe)
                free.append(pipe)
        except (EOFError, ConnectionError):
            raise DataError("a process ended early, perhaps for want of memory; make room, then start again") from None
        while turn in made:
            yield made.pop(turn)
            turn += 1


def _serve(pipe: Connection, work: Callable[[Item], Made]) -> None:
    with suppress(EOFError, ConnectionError):  # the parent is gone
        while True:
            number, item = pipe.recv()
            pipe.send((number, work(item)))


@contextmanager
def _unheard() -> Iterator[None]:
    """Ctrl-C and SIGTERM reach no process that starts inside, ever: they are its parent's business, which hears them after."""
    resource_tracker.ensure_running()  # multiprocessing's own, whose start would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

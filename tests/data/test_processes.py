"""Work on several processes: its results in order, a few at a time, and nothing left running however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from itertools import count, islice
from multiprocessing import active_children
from operator import neg

import pytest

from mistral7b.data.processes import in_order
from mistral7b.errors import DataError

ENDLESS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
from itertools import count
from mistral7b.data.processes import in_order
for one in in_order(abs, count(), 2):
    print(one, flush=True)
"""


@pytest.mark.parametrize("items", [0, 1, 50])
def test_results_are_in_order(items: int) -> None:
    assert list(in_order(neg, range(items), 2)) == [neg(item) for item in range(items)]
    assert not active_children()


def test_items_are_taken_a_few_at_a_time() -> None:
    items = count()
    with closing(in_order(neg, items, 2)) as made:
        assert list(islice(made, 20)) == [-item for item in range(20)]
        assert len(active_children()) == 2
    assert not active_children()
    assert next(items) <= 20 + 4 * 2


def test_what_cannot_be_pickled_for_its_depth_is_worked_on_here() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert list(in_order(len, [[1, 2], deep, [], deep], 2)) == [2, 1, 0, 1]
    assert list(in_order(len, [deep] * 9, 2)) == [1] * 9, "where no process has anything to do"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_is_the_parents_business(number: signal.Signals) -> None:
    """A run that is asked to stop by a signal to its whole group ends in its own time."""
    with closing(in_order(neg, range(200), 2)) as made:
        assert next(made) == 0
        for worker in active_children():
            assert worker.pid is not None
            os.kill(worker.pid, number)
        assert list(made) == [-item for item in range(1, 200)]


def test_a_process_that_ends_early_is_told() -> None:
    with pytest.raises(DataError, match="a process ended early"):
        list(in_order(os._exit, [7], 2))
    assert not active_children()


@pytest.mark.parametrize("way", ["Ctrl-C", "kill"])
def test_nothing_is_left_running(way: str) -> None:
    """Ctrl-C reaches all processes of a terminal, a kill the parent alone."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        if way == "kill":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)  # which ends when the last process has left its ends of the pipes
    assert said.count("Traceback") == (way == "Ctrl-C")
    assert said.count("KeyboardInterrupt") == (way == "Ctrl-C")

"""The keyboard of a chat: messages of several lines, and a Ctrl-C that stops a reply in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

FENCE = '"""'


def read_turn(read: Callable[[str], str], prompt: str) -> str:
    """One message: a line, lines that end in a backslash and the one after them, or what stands between lines of \"\"\"."""
    line = read(prompt)
    if line.startswith(FENCE):
        block = line.removeprefix(FENCE)
        while not block.endswith(FENCE):
            block += "\n" + read("… ")
        return block.removesuffix(FENCE).strip("\n")
    while line.endswith("\\"):
        line = line[:-1] + "\n" + read("… ")
    return line


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """While open, Ctrl-C only asks: the reply ends after the token in work, with everything in order. A second one insists."""
    asked = False

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)

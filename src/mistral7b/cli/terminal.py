"""What every verb shows and how: notes on stderr, progress, tables, one JSON object, and text that cannot drive a terminal."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Told what is done and what there is in all; `label` renames the bar."""

    def __call__(self, done: int, total: int, label: str = "") -> None: ...


GIGABYTE = 10**9
MARKS = {"pass": ("✓", "green"), "fail": ("✗", "bold red"), "skip": ("–", "dim")}  # of a check: a sign and its style
DIM, BOLD, RED, GREEN, YELLOW, CYAN = "2", "1", "31", "32", "33", "36"
# Control characters become their pictures: a model, or a file's name, must not move the cursor or rename the window.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def printable(text: str) -> str:
    """`text` with every control character but newline and tab made visible."""
    return text.translate(_PICTURES)


def one_line(text: str) -> str:
    """`text` as one printable line."""
    return printable(" ".join(text.split()))


def paint(text: str, *codes: str, stream: TextIO) -> str:
    """`text` in the given styles where `stream` is a terminal (and NO_COLOR is not set)."""
    return text if plain(stream) else f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def plain(stream: TextIO) -> bool:
    """True where text to `stream` gets no colour."""
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def write(text: str) -> None:
    """Text of a model to stdout at once; as it is into a pipe or file, printable on a terminal."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def tell(text: str, *codes: str) -> None:
    """One line to stderr, dim unless styled otherwise."""
    print(paint(printable(text), *(codes or (DIM,)), stream=sys.stderr), file=sys.stderr, flush=True)


def note(text: str) -> None:
    """One line of something to know."""
    tell(f"note: {one_line(text)}")


def emit(value: Any) -> None:
    """One JSON object on a line of stdout, valid anywhere: numbers that are not finite become null."""
    ascii_only = (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
    print(json.dumps(_finite(value), ensure_ascii=ascii_only, allow_nan=False), flush=True)


def size(n_bytes: int) -> str:
    """14.5 GB, 571 B."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"


def table(rows: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Rows of (text, rich style) to stdout, in columns; the last column wraps on a terminal, and not elsewhere."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*(Text(printable(text), style=style) for text, style in row))
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(grid)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


@contextmanager
def progress(label: str, *, at_least: int = 0, in_bytes: bool = True) -> Iterator[Progress]:
    """A bar on stderr for work of `at_least` so many bytes (or steps), gone when done; nothing where stderr is no terminal."""
    from rich import progress as rich
    from rich.console import Console
    from rich.markup import escape

    bytes_columns = (rich.DownloadColumn(), rich.TransferSpeedColumn())
    columns = ("{task.description}", rich.BarColumn(), *(bytes_columns if in_bytes else (rich.MofNCompleteColumn(),)))
    bar = rich.Progress(*columns, rich.TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(escape(label), total=None)

    def show(done: int, total: int, label: str = "") -> None:
        if total >= at_least and sys.stderr.isatty():
            bar.start()
            bar.update(task, completed=done, total=total, description=escape(label) if label else None)

    try:
        yield show
    finally:
        if bar.live.is_started:  # rich ends even a bar that never was with an empty line
            bar.stop()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(held) for held in value]
    return value

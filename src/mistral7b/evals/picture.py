"""A matplotlib figure that becomes a PNG when it is done, or nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import written
from mistral7b.errors import RequestError


def check_drawing() -> None:
    """Raises RequestError without matplotlib: asked before what is to be drawn is measured."""
    if find_spec("matplotlib") is None:
        raise RequestError("a figure needs matplotlib: pip install 'mistral7b[eval]'")


@contextmanager
def picture(path: Path, size: tuple[float, float] = (9, 4.5)) -> Iterator[Any]:
    """A figure of `size` inches to draw on. Raises RequestError without matplotlib, and for a path that cannot be written."""
    check_drawing()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=110)
    try:
        with written(path) as file:
            file.write(made.getvalue())
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}") from None

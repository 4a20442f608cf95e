"""A matplotlib figure that becomes a PNG when it is done, or nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import written
from mistral7b.errors import RequestError


@contextmanager
def picture(path: Path) -> Iterator[Any]:
    """A figure to draw on. Raises RequestError without matplotlib, and for a path that cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise RequestError("a figure needs matplotlib: pip install 'mistral7b[eval]'") from None
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=110)
    try:
        with written(path) as file:
            file.write(made.getvalue())
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}") from None

"""Either: text that follows one grammar, or tool calls that follow another; the first id decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mistral7b.engine.constraint import Constraint


class Either:
    """A chat with a response_format and with tools that may be called: `calls` begins with the id `marker`, `text` never does."""

    def __init__(self, text: Constraint, calls: Constraint, marker: int) -> None:
        self._text = text
        self._calls = calls
        self._marker = marker
        self._chosen: Constraint | None = None

    def mask(self) -> NDArray[np.bool_]:
        """See Constraint."""
        if self._chosen is not None:
            return self._chosen.mask()
        mask = self._text.mask().copy()
        mask[self._marker] = True
        return mask

    def forced(self) -> list[int]:
        """See Constraint."""
        return [] if self._chosen is None else self._chosen.forced()

    def advance(self, id: int) -> None:
        """See Constraint."""
        if self._chosen is None:
            self._chosen = self._calls if id == self._marker else self._text
        self._chosen.advance(id)

    @property
    def done(self) -> bool:
        """See Constraint."""
        return self._chosen is not None and self._chosen.done

"""Constraint: what a grammar says about the next id. The engine knows nothing else of grammars."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Constraint(Protocol):
    """The state of one completion under a grammar; it moves on with the ids that are taken."""

    def mask(self) -> NDArray[np.bool_]:
        """`[V]`, True for each id that may come next; eos may exactly where the text may end. V may be below the network's
        vocabulary: ids past it may not come."""

    def forced(self) -> list[int]:
        """The ids that must come next, one after another, as `mask` would let through nothing else; often none."""

    def advance(self, id: int) -> None:
        """`id` was taken. Raises ValueError if it may not come."""

    @property
    def done(self) -> bool:
        """True when nothing may follow, not even eos."""

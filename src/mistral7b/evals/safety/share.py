"""A share of some items, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mistral7b.evals.intervals import wilson


@dataclass(frozen=True)
class Share:
    """`count` of `total`."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """From 0 to 1; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval: at 0 and 1 it has a width too."""
        if not self.total:
            return None
        found = wilson(self.count, self.total)
        return found.low, found.high

    def __str__(self) -> str:
        if (interval := self.interval) is None:
            return "none to count"
        return f"{self.count / self.total:.1%} ({self.count} of {self.total}; 95 %: {interval[0]:.1%} to {interval[1]:.1%})"

    def to_json(self) -> dict[str, Any]:
        return {"share": self.value, "count": self.count, "of": self.total, "interval": self.interval and list(self.interval)}

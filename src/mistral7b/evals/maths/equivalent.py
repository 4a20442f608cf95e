"""When two answers to a MATH problem are the same."""

from __future__ import annotations


def equivalent(first: str | None, second: str | None) -> bool:
    """Whether two answers, as `extract` gives them, say the same; None equals nothing. Symmetric."""
    return first is not None and second is not None and first.strip() == second.strip()

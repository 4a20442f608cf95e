"""The packages of the extra `release`, which the base install lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mistral7b.errors import ReleaseError


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Around an import: turns a missing or broken package into one line, a ReleaseError, that says what wants it and how to get it."""
    try:
        yield
    except ImportError as error:  # one that is there may lack a system library
        raise ReleaseError(f"{what} needs the package {error.name}; pip install 'mistral7b[release]'") from None

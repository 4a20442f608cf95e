"""The packages of the extra `release`, which the base install lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mistral7b.errors import ReleaseError


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Around an import: raises ReleaseError for a package that is missing or does not load, saying what wants it."""
    try:
        yield
    except ImportError as error:  # one that is there may lack a system library
        package = (error.name or str(error)).partition(".")[0]
        raise ReleaseError(f"{what} needs the package {package}; pip install 'mistral7b[release]'") from None

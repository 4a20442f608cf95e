"""Mistral 7B as one system. `LLM`, `SamplingParams`, `StructuredOutput` and `load` are the door; importing this package imports
no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["LLM", "SamplingParams", "StructuredOutput", "__version__", "load"]

if TYPE_CHECKING:
    from mistral7b.api import LLM, SamplingParams, StructuredOutput, load
else:

    def __getattr__(name: str) -> object:
        """The public names of `mistral7b.api`, loaded on first use so that `--help` need not wait for torch."""
        if name in ("LLM", "SamplingParams", "StructuredOutput", "load"):
            return getattr(importlib.import_module("mistral7b.api"), name)
        raise AttributeError(f"module 'mistral7b' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

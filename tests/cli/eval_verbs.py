"""A verb of `eval` in a command of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer

from mistral7b.cli import main
from mistral7b.cli.help import CONTEXT_SETTINGS, Verb, Verbs, group


def wire(monkeypatch: pytest.MonkeyPatch, name: str, verb: Callable[..., Any], epilog: str) -> None:
    """`mistral7b eval NAME` runs `verb`, for as long as the test runs."""
    app = typer.Typer(cls=Verbs, rich_markup_mode=None, context_settings=CONTEXT_SETTINGS)
    evals = group("Measure.")
    evals.command(name, cls=Verb, epilog=epilog, context_settings=CONTEXT_SETTINGS)(verb)
    app.add_typer(evals, name="eval")
    monkeypatch.setattr(main, "app", app)

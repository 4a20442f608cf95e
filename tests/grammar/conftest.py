"""The embedded model's tokenizer, and its grammars."""

from __future__ import annotations

from pathlib import Path

import pytest

import mistral7b
from mistral7b.grammar.grammars import Grammars
from mistral7b.tokens.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tiny() -> Tokenizer:
    return Tokenizer.load(Path(mistral7b.__file__).parent / "models/tiny/tokenizer.model.v3")


@pytest.fixture(scope="session")
def grammars(tiny: Tokenizer) -> Grammars:
    return Grammars(tiny)

"""Tokenizers for the tests: the three published ones, and a small one trained here in v3's layout."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from mistral7b.tokens.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def v1() -> Tokenizer:
    return Tokenizer.published("v1")


@pytest.fixture(scope="session")
def v2() -> Tokenizer:
    return Tokenizer.published("v2")


@pytest.fixture(scope="session")
def v3() -> Tokenizer:
    return Tokenizer.published("v3")


@pytest.fixture(scope="session")
def every(v1: Tokenizer, v2: Tokenizer, v3: Tokenizer, small: Tokenizer) -> list[Tokenizer]:
    return [v1, v2, v3, small]


def sentences() -> list[str]:
    """A few kilobytes of made-up prose and JSON, the same on every run."""
    dice = random.Random(7)
    syllables = ["ba", "ke", "lo", "mi", "nu", "ra", "so", "ti"]
    words = ["".join(dice.choices(syllables, k=dice.randint(1, 3))) for _ in range(120)]
    prose = [" ".join(dice.choices(words, k=12)) + "." for _ in range(300)]
    return prose + [f'[{{"name": "{dice.choice(words)}", "arguments": {{"x": {dice.randint(0, 99)}}}}}]' for _ in range(60)]


Train = Callable[..., Path]


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory, v3: Tokenizer) -> Train:
    """Trains a small tokenizer in v3's layout (FACTS, last section) and returns its file; options override the trainer's."""

    def make(name: str = "tokenizer.model.v3", **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("tokenizer")
        settings: dict[str, Any] = {
            "model_type": "bpe",
            "vocab_size": 1200,
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "control_symbols": [v3.piece(id) for id in range(3, 771)],
            "unk_id": 0,
            "bos_id": 1,
            "eos_id": 2,
            "pad_id": -1,
            "num_threads": 1,
            "minloglevel": 3,
        }
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences()), model_prefix=str(folder / "spm"), **(settings | options)
        )
        return (folder / "spm.model").rename(folder / name)

    return make


@pytest.fixture(scope="session")
def small(train: Train) -> Tokenizer:
    return Tokenizer.load(train())

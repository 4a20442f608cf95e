"""The work of a load test: prompts and lengths, the same for every server that is given the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

# Short and common: a tokenizer of any size has most of them whole.
_WORDS = [
    "the", "a", "one", "some", "every", "old", "young", "small", "great", "red", "green", "blue", "quiet", "bright", "cold",
    "man", "woman", "child", "friend", "dog", "cat", "bird", "horse", "tree", "river", "road", "house", "garden", "window",
    "book", "letter", "song", "story", "morning", "evening", "winter", "summer", "day", "night", "saw", "found", "made", "took",
    "gave", "lost", "kept", "wrote", "sang", "told", "asked", "carried", "opened", "under", "over", "behind", "before", "without",
]  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One request to send: its text, and the most tokens its answer may have."""

    prompt: str
    max_tokens: int


@dataclass(frozen=True)
class Scale:
    """How a server counts the words of this file: `tokens_per_word`, and `overhead` tokens of every prompt (BOS, template)."""

    tokens_per_word: float = 1.0
    overhead: float = 0.0

    def words(self, tokens: int) -> int:
        """The number of words that make about `tokens` tokens, at least one."""
        return max(1, round((tokens - self.overhead) / self.tokens_per_word))


@dataclass(frozen=True)
class Work:
    """What requests are made of. Ranges include both ends; `shared_prefix` tokens, the same for all, come before each prompt.

    `prompts` (see `read_prompts`), where given, stand in for generated text and are taken in turn.
    """

    seed: int = 0
    prompt_tokens: tuple[int, int] = (128, 512)
    max_tokens: tuple[int, int] = (32, 128)
    shared_prefix: int = 0
    scale: Scale = Scale()
    prompts: tuple[Item | str, ...] = ()

    def items(self) -> Iterator[Item]:
        """Requests without end; generated ones have text of their own after the shared prefix."""
        chance = random.Random(self.seed)
        prefix = words(random.Random(f"prefix {self.seed}"), round(self.shared_prefix / self.scale.tokens_per_word))
        written = cycle(self.prompts)
        while True:
            most = chance.randint(*self.max_tokens)
            if self.prompts:
                item = next(written)
                text, most = (item.prompt, item.max_tokens) if isinstance(item, Item) else (item, most)
            else:
                text = words(chance, self.scale.words(chance.randint(*self.prompt_tokens)))
            yield Item(f"{prefix} {text}" if prefix else text, most)


def words(chance: random.Random, count: int) -> str:
    """`count` words drawn at random."""
    return " ".join(chance.choices(_WORDS, k=count))


def read_prompts(path: Path) -> tuple[Item | str, ...]:
    """Prompts of a JSON Lines file: objects with "prompt", a text, and perhaps "max_tokens". Raises ValueError, in one line."""
    found: list[Item | str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                found.append(_prompt(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no prompt")
    return tuple(found)


def _prompt(value: object) -> Item | str:
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str) or not value["prompt"]:
        raise ValueError('want an object with a text "prompt"')
    most = value.get("max_tokens")
    if most is None:
        return str(value["prompt"])
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError('"max_tokens" must be an integer of at least 1')
    return Item(value["prompt"], most)

"""One way to speak to a model, wherever it is: LocalChat (local_chat.py) in process, Endpoint (endpoint.py) behind a URL."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Message = Mapping[str, str]


@dataclass(frozen=True)
class Ask:
    """A conversation to answer, in the messages of the OpenAI API. `seed` None: any. `choices`: the answer must be one of
    these; a model in process is bound to them by a grammar, one behind a URL is not."""

    messages: Sequence[Message]
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a model said; `trouble` is why it could say nothing, for one such as a conversation longer than its context."""

    text: str
    trouble: str | None = None


class Chat(Protocol):
    """A model to speak to; `name` is what the user calls it."""

    name: str

    def describe(self) -> dict[str, Any]:
        """What tells this model from another, for a run that goes on later."""
        ...

    def replies(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """(Number in `asks`, reply), in the order in which they are made."""
        ...

    def stream(self, ask: Ask) -> Generator[str]:
        """One reply, piece by piece."""
        ...


def seed_of(*parts: object) -> int:
    """A seed of 31 bits, which every server takes, that is the same for the same `parts` and else another."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1

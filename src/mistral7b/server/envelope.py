"""What every answer is wrapped in: its id, when, by which model, and how many tokens it took."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mistral7b.completion import Completion


class Counted(Protocol):
    """A choice that knows its ids."""

    ids: list[int]


@dataclass(frozen=True)
class Envelope:
    """`kind` begins the id ("chatcmpl", "cmpl"); every chunk of a stream carries the same one."""

    kind: str
    model: str
    fingerprint: str
    created: int = field(default_factory=lambda: int(time.time()))
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def head(self, object: str) -> dict[str, Any]:
        """The fields before `choices`."""
        return {
            "id": f"{self.kind}-{self.token}",
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def usage(prompts: Sequence[Completion], choices: Iterable[Counted]) -> dict[str, Any]:
    """Tokens: of each prompt once, however many choices it has; of every choice, the one that ended it included."""
    prompt = sum(len(one.request.prompt) for one in prompts)
    made = sum(len(choice.ids) for choice in choices)
    cached = sum(one.request.cached for one in prompts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }

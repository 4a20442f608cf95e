"""Kept: a conversation as it stands after a reply, with the cache that can go on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mistral7b.model.snapshot import KVState

Message = Mapping[str, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Kept:
    """`messages` (a system prompt is the first of them) and `tools` are OpenAI-shaped; the last message is the reply, if any.

    `ids` are those of the last turn as they were really run: its prompt up to `reply_at`, then the reply's own ids, closed by
    eos. The model may have spelled the reply otherwise than the tokenizer would. `state`, if there is one, is the cache of
    the first of them, mostly of all but the last two.
    """

    messages: Sequence[Message] = ()
    tools: Sequence[Message] | None = None
    safe_prompt: bool = False
    ids: tuple[int, ...] = ()
    reply_at: int = 0
    state: KVState | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.reply_at <= len(self.ids), "the reply begins within the ids"
        assert not self.ids or (self.messages and self.messages[-1]["role"] == "assistant"), "ids are those of a reply"
        assert self.state is None or self.state.ids == self.ids[: len(self.state.ids)], "the state is one of these ids"

    @property
    def system(self) -> str | None:
        """The system prompt, if there is one."""
        first = self.messages[0] if self.messages else {}
        return first["content"] if first.get("role") == "system" else None

    @property
    def computed(self) -> int:
        """How many ids the cache saves from being computed."""
        return len(self.state.ids) if self.state else 0

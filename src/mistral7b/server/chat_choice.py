"""One of the n answers to a chat: events in, deltas out."""

from __future__ import annotations

import hashlib
from array import array
from typing import Any

from mistral7b.completion import Completion
from mistral7b.server.ticket import Event
from mistral7b.tokens.calls import ToolCall
from mistral7b.tokens.reply import Arguments, CallReader, CallStarted


class Choice:
    """Its deltas, joined, are its `message`: a streamed answer and a whole one are made of the same."""

    def __init__(self, completion: Completion, index: int) -> None:
        self.content = ""
        self.ids: list[int] = []
        self.logprobs: list[dict[str, Any]] = []
        self.stop_reason: int | str | None = None
        self.finish_reason: str | None = None
        self._reader = CallReader(_seed(completion, index))
        self._call_text = ""

    @property
    def calls(self) -> list[ToolCall]:
        """The calls so far."""
        return self._reader.calls

    def take(self, event: Event) -> dict[str, Any]:
        """What `event` adds for the client; empty if nothing is certain yet.

        The end of an answer cut off before its first call had a name gives the text of that call as content: nothing is lost.
        """
        delta: dict[str, Any] = {}
        self.ids += event.ids
        self._call_text += event.call_text
        begun = [_call_delta(part) for part in self._reader.push(event.call_text)] if event.call_text else []
        text = event.text
        if event.finish_reason is not None:
            self.stop_reason = event.stop_reason
            whole = bool(self._reader.finish()) and bool(self._call_text)
            self.finish_reason = "tool_calls" if whole else event.finish_reason
            text += "" if self.calls else self._call_text
        if text:
            delta["content"] = text
            self.content += text
        if begun:
            delta["tool_calls"] = begun
        return delta

    def message(self) -> dict[str, Any]:
        """The whole message."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.calls
        ]
        content = None if calls and not self.content else self.content
        return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def _call_delta(part: CallStarted | Arguments) -> dict[str, Any]:
    """One piece of a call. Mistral's client wants a name in every piece, and OpenAI's joins them: so the later ones are empty."""
    if isinstance(part, CallStarted):
        return {"index": part.index, "id": part.id, "type": "function", "function": {"name": part.name, "arguments": ""}}
    return {"index": part.index, "function": {"name": "", "arguments": part.text}}


def _seed(completion: Completion, index: int) -> str:
    """What call ids are made from: the same for the same request, another for every other prompt of a conversation."""
    request = completion.request
    prompt = hashlib.sha256(array("q", request.prompt).tobytes()).hexdigest()
    return f"{prompt}:{request.params.seed}:{index}"

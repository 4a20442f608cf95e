"""Conversation: the messages of a chat, OpenAI-shaped, and what a person at the keyboard does to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral7b.cli.answers import calls_json
from mistral7b.errors import ChatError, CheckpointError

if TYPE_CHECKING:
    from mistral7b.outputs import RequestOutput

Message = dict[str, Any]


class Conversation:
    """`messages` begin with the system prompt if there is one; `tools` are offered with every turn."""

    def __init__(self, *, system: str | None = None, tools: list[dict[str, Any]] | None = None) -> None:
        self.messages: list[Message] = []
        self.tools = tools
        self.set_system(system)

    @property
    def system(self) -> str | None:
        return self.messages[0]["content"] if self.messages and self.messages[0]["role"] == "system" else None

    def set_system(self, text: str | None) -> None:
        """Put `text` in the place of the system prompt; None or "" takes it away."""
        if self.system is not None:
            del self.messages[0]
        if text:
            self.messages.insert(0, {"role": "system", "content": text})

    @property
    def pending(self) -> list[dict[str, Any]]:
        """The tool calls at the end that have no result yet."""
        answered = set()
        for message in reversed(self.messages):
            if message["role"] != "tool":
                return [call for call in message.get("tool_calls") or () if call["id"] not in answered]
            answered.add(message.get("tool_call_id"))
        return []

    def add(self, text: str) -> None:
        """What a person typed: the result of the first pending tool call, else a user message."""
        if pending := self.pending:
            self.messages.append({"role": "tool", "tool_call_id": pending[0]["id"], "content": text})
        else:
            self.messages.append({"role": "user", "content": text})

    def take_back(self) -> None:
        """Forget what was typed last: no answer could be given to it."""
        if self.messages and self.messages[-1]["role"] in ("user", "tool"):
            self.messages.pop()

    def answered(self, output: RequestOutput) -> None:
        """Add the assistant's message; an answer of nothing leaves none, for no template can hold it."""
        completion = output.outputs[0]
        if completion.tool_calls:
            self.messages.append({"role": "assistant", "content": None, "tool_calls": calls_json(completion)})
        elif completion.text:
            self.messages.append({"role": "assistant", "content": completion.text})

    def unanswer(self) -> None:
        """Take the last answer away, with the results its tool calls have got; ChatError if nothing is left to answer."""
        kept = len(self.messages)
        if self.pending:
            while self.messages[kept - 1]["role"] == "tool":
                kept -= 1
        if kept and self.messages[kept - 1]["role"] == "assistant":
            kept -= 1
        if not kept or self.messages[kept - 1]["role"] == "system":
            raise ChatError("there is no message to answer yet; write one")
        del self.messages[kept:]

    def reset(self) -> None:
        """Forget everything but the system prompt and the tools."""
        self.messages = self.messages[:1] if self.system is not None else []

    def resume(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> None:
        """Take over a conversation that was kept, its system prompt and tools included."""
        self.messages = [dict(message) for message in messages]
        self.tools = None if tools is None else [dict(tool) for tool in tools]

    def save(self, path: Path) -> None:
        """Write the messages as JSON. Only a saved conversation is ever replaced; CheckpointError otherwise."""
        from mistral7b.checkpoint.aside import aside

        if path.exists():
            try:
                read_messages(path)
            except ChatError:
                raise CheckpointError(f"{path} exists and is no saved conversation; choose another name") from None
        text = json.dumps(self.messages, indent=2, ensure_ascii=False) + "\n"
        with aside(path, needs=len(text.encode()), folder=False, force=True) as made:
            made.write_text(text, encoding="utf-8")

    def load(self, path: Path) -> None:
        """Go on with a saved conversation; ChatError if `path` holds none."""
        self.messages = read_messages(path)


def read_messages(path: Path) -> list[Message]:
    """The messages a file holds as a JSON list; ChatError, one line, for anything else."""
    from mistral7b.tokens.messages import read_messages as check

    found = read_list(path)
    check(found, [])
    return found


def read_tools(path: Path) -> list[dict[str, Any]]:
    """The tools a file holds as a JSON list, in the OpenAI API's shape; ChatError, one line, for anything else."""
    from mistral7b.tokens.tools import read_tools as check

    return check(read_list(path))


def read_list(path: Path) -> list[Any]:
    """The JSON list in a file; ChatError otherwise."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ChatError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ChatError(f"{path} is not valid JSON") from None
    if not isinstance(found, list):
        raise ChatError(f"{path} must hold a JSON list, not a {type(found).__name__}")
    return found

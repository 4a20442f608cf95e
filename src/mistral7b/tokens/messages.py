"""OpenAI-shaped messages, read strictly and put into the order the templates need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from mistral7b.errors import ChatError
from mistral7b.tokens.calls import ToolCall
from mistral7b.tokens.tools import check_unicode, no_other_keys, read_tool_calls

Role = Literal["system", "user", "assistant", "tool"]
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
KEYS: dict[Role, set[str]] = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "prefix"},
    "tool": {"role", "content", "name", "tool_call_id"},
}


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message; `number` is its place in the request, from 1, for errors and notes."""

    number: int
    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()  # of an assistant; an id the client left out is ""
    answers: str | None = None  # of a tool: the id of the call
    tool: str | None = None  # of a tool: its name
    prefix: bool = False  # of the last assistant message: to be continued


def read_messages(messages: Sequence[Mapping[str, Any]], notes: list[str]) -> list[Message]:
    """Messages of a request, in its order. A key that would have to be ignored is an error unless it is empty; what the
    templates have no place for goes to `notes`. Raises ChatError with the number of the message."""
    if not messages:
        raise ChatError("there are no messages; send at least one user message")
    return [_read(number, message, notes) for number, message in enumerate(messages, start=1)]


def in_order(messages: list[Message], notes: list[str]) -> list[Message]:
    """`messages` with system messages first, ending in a user, tool or to-be-continued assistant message.

    The templates hold one system prompt, inside a user message, so a system message further down must move; done here, where
    the messages around it then count as neighbours, users and assistants always alternate. (Left to itself mistral-common
    refuses a system message after an assistant, and writes two [INST] blocks in a row around one between users.) Its
    normaliser does the joining, with a blank line; each join is reported here.
    """
    system = [message for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    if len(system) > 1:
        notes.append(f"joined {len(system)} system messages into one system prompt")
    moved = [message.number for message in system if any(other.number < message.number for other in others)]
    notes.extend(f"moved system message {number} to the front of the conversation" for number in moved)
    for before, after in pairwise(others):
        if before.role != after.role or after.role == "tool":
            continue
        if bool(before.calls) == bool(after.calls):
            notes.append(f"joined messages {before.number} and {after.number}, both from the {after.role}")
        else:
            raise ChatError(
                f"messages {before.number} and {after.number} join into one with content and tool_calls; send one of them"
            )
    if not others:
        notes.append("added an empty user message to hold the system prompt")
    elif others[0].role != "user":
        notes.append(f"added an empty user message before message {others[0].number}, from the {others[0].role}")
    if others and others[-1].role == "assistant" and not others[-1].prefix:
        raise ChatError("the last message is the assistant's: end with a user or tool message, or set its prefix to true")
    return system + others


def _read(number: int, message: Mapping[str, Any], notes: list[str]) -> Message:
    where = f"message {number}"
    if not isinstance(message, Mapping):
        raise ChatError(f"{where} must be an object with role and content, not a {type(message).__name__}")
    said = message.get("role")
    if not isinstance(said, str) or said not in _ROLES:
        raise ChatError(f"{where} has role {said!r}; use system, user, assistant or tool")
    role = _ROLES[said]
    if said != role:
        notes.append(f"read {said} {where} as a {role} message")
    no_other_keys(where, message, KEYS[role])
    content = _text(where, message.get("content"), notes)
    name = message.get("name")
    if name is not None and (not isinstance(name, str) or not name):
        raise ChatError(f"{where}: name must be a string")
    if role == "tool":
        return Message(number=number, role=role, content=content or "", answers=_answers(where, message), tool=name)
    if name is not None:
        notes.append(f"left out the name of {where}: the templates have no place for it")
    if role != "assistant":
        if content is None:
            raise ChatError(f"{where} from the {role} has no content")
        return Message(number=number, role=role, content=content)
    calls = read_tool_calls(where, message.get("tool_calls"))
    prefix = message.get("prefix") or False
    _check_assistant(where, content, calls, prefix)
    return Message(number=number, role=role, content=content or "", calls=calls, prefix=prefix)


def _check_assistant(where: str, content: str | None, calls: tuple[ToolCall, ...], prefix: object) -> None:
    if not isinstance(prefix, bool):
        raise ChatError(f"{where}: prefix must be true or false")
    if content and calls:
        raise ChatError(f"{where} has both content and tool_calls, which no template of Mistral 7B can hold; send one of them")
    if not content and not calls:
        raise ChatError(f"{where} from the assistant has neither content nor tool_calls")
    if prefix and calls:
        raise ChatError(f"{where}: a prefix to continue must be text, not tool_calls")


def _text(where: str, content: object, notes: list[str]) -> str | None:
    if isinstance(content, list):
        parts = [_part(where, part) for part in content]
        said = [part for part in parts if part]
        if len(said) > 1:
            notes.append(f"joined the {len(said)} text parts of {where} with blank lines")
        content = "\n\n".join(said)
    if content is not None and not isinstance(content, str):
        raise ChatError(f"{where}: content must be text or a list of text parts, not a {type(content).__name__}")
    return check_unicode(where, content) if content is not None else None


def _part(where: str, part: object) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise ChatError(f"{where} has a part of type {kind!r}; Mistral 7B reads only text parts")
    no_other_keys(f"a text part of {where}", part, {"type", "text"})
    return str(part["text"])


def _answers(where: str, message: Mapping[str, Any]) -> str | None:
    id = message.get("tool_call_id")
    if id is not None and (not isinstance(id, str) or not id):
        raise ChatError(f"{where}: tool_call_id must be the id of a tool call, not {id!r}")
    return id

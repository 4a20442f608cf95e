"""The two shapes every layout is brought into, and the ids of tool calls that most layouts leave out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mistral7b.errors import DataError
from mistral7b.tokens.calls import make_id

Object = Mapping[str, Any]
Message = dict[str, Any]
Tools = list[dict[str, Any]]
Services = Mapping[str, Tools]  # the tools of each service, for records that name services


@dataclass(frozen=True, slots=True)
class Text:
    """A plain text, learned whole."""

    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Messages and tools as the OpenAI API has them; `weights`, one a message: 0 for a reply that is not learned, else 1."""

    messages: list[Message]
    tools: Tools
    weights: list[int]

    def __post_init__(self) -> None:
        assert len(self.messages) == len(self.weights), "one weight a message"


def dialogue(messages: list[Message], tools: Tools, weights: list[int] | None = None) -> Dialogue:
    """A dialogue whose calls all have ids, each result that of the call it answers. An id that was left out is made from the
    call and its place, so the same record has the same ids in every run."""
    taken: set[str] = set()
    waiting: list[tuple[str, object]] = []  # (id, name) of calls without a result
    for message in messages:
        for call in _calls(message):
            function = call["function"]
            if not call.get("id"):
                seed = f"{len(taken)}:{function.get('name')}:{json.dumps(function.get('arguments'), sort_keys=True)}"
                call["id"] = make_id(seed, taken)
            taken.add(str(call["id"]))
            waiting.append((str(call["id"]), function.get("name")))
        if message.get("role") == "tool":
            wanted, name = message.get("tool_call_id"), message.get("name")
            fits = [held for held in waiting if held[0] == wanted or (not wanted and name in (None, held[1]))]
            if fits:
                message["tool_call_id"] = fits[0][0]
                waiting.remove(fits[0])
    return Dialogue(messages, tools, weights or [1] * len(messages))


def turns(user: str, assistant: str, system: str = "") -> Dialogue:
    """One question and its answer."""
    first = [{"role": "system", "content": system}] if system else []
    return dialogue([*first, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}], [])


def calls(found: object) -> list[Message]:
    """Tool calls of the form `{"name", "arguments"}`, one or a list of them, in the form of the OpenAI API."""
    return [call if "function" in call else {"type": "function", "function": call} for call in _objects("tool call", found)]


def tools(found: object) -> Tools:
    """Tools of either form, bare functions or not, given as they are or as JSON text."""
    if isinstance(found, str):
        found = json_value("tools", found) if found.strip() else []
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in _objects("tool", found or [])]


def text(value: Object, key: str) -> str:
    """The text under `key`, "" where there is none. Raises DataError for anything else."""
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise DataError(f"{key} must be text, not a {type(found).__name__}")
    return found or ""


def json_value(what: str, given: str) -> Any:
    """`given` as JSON; DataError if it is none."""
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise DataError(f"{what} must be JSON, and this is none: {' '.join(given.split())[:80]}") from None


def _calls(message: Message) -> list[Message]:
    """The calls of a message as far as they are well-formed; rendering refuses the others."""
    found = message.get("tool_calls")
    listed = found if isinstance(found, list) else []
    return [call for call in listed if isinstance(call, dict) and isinstance(call.get("function"), dict)]


def _objects(what: str, found: object) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for item in found if isinstance(found, list) else [found]:
        if not isinstance(item, dict):
            raise DataError(f"a {what} must be an object, not a {type(item).__name__}")
        made.append(dict(item))
    return made

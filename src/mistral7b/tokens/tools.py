"""Tools and tool calls as the OpenAI API writes them, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mistral7b.errors import ChatError
from mistral7b.tokens.calls import ToolCall, json_object


def read_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools of a request, checked for keys that would have to be ignored; ChatError otherwise."""
    return [_read_tool(number, tool) for number, tool in enumerate(tools, start=1)]


def read_tool_calls(where: str, calls: object) -> tuple[ToolCall, ...]:
    """The `tool_calls` of the assistant message `where`; an id the client left out is ""."""
    if calls is None:
        return ()
    if not isinstance(calls, list):
        raise ChatError(f"{where}: tool_calls must be a list, not a {type(calls).__name__}")
    return tuple(_call(f"{where}, tool call {number}", call) for number, call in enumerate(calls, start=1))


def no_other_keys(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Clients send back whole replies, so keys that hold nothing pass; one that says something is never ignored."""
    for key, value in given.items():
        if key not in known and value not in (None, False, "", [], {}):
            raise ChatError(f"{where} has {key!r}, which Mistral 7B cannot use; leave it out")


def check_unicode(where: str, text: str) -> str:
    """`text`, unless no UTF-8 can spell it: then ChatError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ChatError(f"{where} holds a lone surrogate, which is not Unicode text; remove it") from None
    return text


def _read_tool(number: int, tool: object) -> dict[str, Any]:
    where = f"tool {number}"
    if not isinstance(tool, Mapping) or tool.get("type") != "function" or not isinstance(tool.get("function"), Mapping):
        raise ChatError(f"{where} must be an object with type 'function' and a function")
    no_other_keys(where, tool, {"type", "function"})
    function = tool["function"]
    no_other_keys(where, function, {"name", "description", "parameters", "strict"})
    check_unicode(where, _dump(where, function))
    return {"type": "function", "function": dict(function)}


def _call(where: str, call: object) -> ToolCall:
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        raise ChatError(f"{where} must be an object with id, type and function")
    if call.get("type", "function") != "function":
        raise ChatError(f"{where} is of type {call['type']!r}; only functions can be called")
    no_other_keys(where, call, {"id", "type", "function", "index"})  # index: left over from streamed replies
    function = call["function"]
    no_other_keys(where, function, {"name", "arguments"})
    id, name, arguments = call.get("id") or "", function.get("name"), function.get("arguments") or "{}"
    if not isinstance(id, str) or not isinstance(name, str):
        raise ChatError(f"{where}: id and name must be strings")
    found = dict(arguments) if isinstance(arguments, Mapping) else json_object(arguments) if isinstance(arguments, str) else None
    if found is None:
        raise ChatError(f"{where}: arguments must be the JSON text of an object")
    return ToolCall(id=id, name=name, arguments=check_unicode(where, _dump(where, found)))


def _dump(where: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ChatError(f"{where} is not plain JSON: {error}") from None

"""Records of messages: OpenAI's, and mistral-finetune's with interactions, weights and aliases."""

from __future__ import annotations

from typing import Any

from mistral7b.data.instruct import shapes
from mistral7b.data.instruct.shapes import Dialogue, Message, Object
from mistral7b.errors import DataError

KEYS = {"messages", "interactions", "tools", "available_tools", "services", "system_prompt", "only_last"}


def read(record: Object) -> Dialogue:
    """The dialogue of a record. `only_last` gives every reply but the last the weight 0. Raises DataError."""
    said = _one_of(record, "messages", "interactions")
    if not isinstance(said, list) or not said:
        raise DataError("there are no messages; each record needs a list of them")
    messages: list[Message] = []
    weights: list[int] = []
    if prompt := shapes.text(record, "system_prompt"):
        messages.append({"role": "system", "content": prompt})
        weights.append(1)
    for number, given in enumerate(said, start=1):
        message, weight = _message(f"message {number}", given)
        if prompt and message.get("role") == "system":
            raise DataError(f"there is a system_prompt, and message {number} is a system message too; keep one of them")
        messages.append(message)
        weights.append(weight)
    if record.get("only_last"):
        replies = [place for place, message in enumerate(messages) if message.get("role") == "assistant"]
        for place in replies[:-1]:
            weights[place] = 0
    return shapes.dialogue(messages, shapes.tools(_one_of(record, "tools", "available_tools")), weights)


def _message(where: str, given: object) -> tuple[Message, int]:
    if not isinstance(given, dict):
        raise DataError(f"{where} must be an object with role and content, not a {type(given).__name__}")
    message = dict(given)
    content = _one_of(message, "content", "text", where)
    message.pop("text", None)
    message["content"] = content
    if message.get("role") == "function":
        message["role"] = "tool"
    if message.get("function_call"):
        if message.get("tool_calls"):
            raise DataError(f"{where} has both function_call and tool_calls; keep one of them")
        message["tool_calls"] = shapes.calls(message.pop("function_call"))
    elif isinstance(message.get("tool_calls"), list):
        message["tool_calls"] = [shapes.calls(call)[0] for call in message["tool_calls"]]
    weight = message.pop("weight", None)
    if weight not in (None, 0, 1):
        raise DataError(f"{where} has weight {weight!r}; use 0 or 1")
    if weight and message.get("role") != "assistant":
        raise DataError(f"{where} has a weight, and only replies of the assistant are learned; leave it out")
    return message, 0 if weight == 0 else 1


def _one_of(held: Object, name: str, alias: str, where: str = "it") -> Any:
    """What is under either key; DataError for both."""
    if held.get(name) is not None and held.get(alias) is not None:
        raise DataError(f"{where} has both {name} and {alias}; keep one of them")
    return held.get(name) if held.get(name) is not None else held.get(alias)

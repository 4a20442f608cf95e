"""Server-sent events read back, and what a client would put together from them."""

from __future__ import annotations

import json
from typing import Any


def events(text: str) -> list[Any]:
    """The data of each event; "[DONE]" stays text."""
    found = [block.removeprefix("data: ") for block in text.split("\n\n") if block]
    return [data if data == "[DONE]" else json.loads(data) for data in found]


def joined(text: str) -> list[dict[str, Any]]:
    """The choices of a chat stream as a whole answer has them, ordered by index."""
    *chunks, done = events(text)
    assert done == "[DONE]"
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            _add(choices.setdefault(piece["index"], _empty(piece["index"])), piece)
    for choice in choices.values():
        message = choice["message"]
        message["content"] = None if message.get("tool_calls") and not message["content"] else message["content"]
    return [choices[index] for index in sorted(choices)]


def _empty(index: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": ""}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None, "stop_reason": None}


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    delta, message = piece["delta"], choice["message"]
    assert choice["finish_reason"] is None, "nothing follows the end of a choice"
    message["content"] += delta.get("content") or ""
    for part in delta.get("tool_calls", []):
        calls = message.setdefault("tool_calls", [])
        if "id" in part:
            assert part["index"] == len(calls)
            calls.append({"id": part["id"], "type": part["type"], "function": dict(part["function"])})
        else:
            calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
            assert part["function"]["name"] == ""
    if piece["logprobs"] is not None:
        choice["logprobs"] = choice["logprobs"] or {"content": []}
        choice["logprobs"]["content"] += piece["logprobs"]["content"]
    if piece["finish_reason"] is not None:
        choice["finish_reason"], choice["stop_reason"] = piece["finish_reason"], piece["stop_reason"]

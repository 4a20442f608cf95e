"""Records of ShareGPT's layout, tools and calls as LLaMA-Factory writes them: conversations of from and value."""

from __future__ import annotations

from mistral7b.data.instruct import messages, shapes
from mistral7b.data.instruct.shapes import Dialogue, Message, Object
from mistral7b.errors import DataError

KEYS = {"conversations", "tools", "system"}
_ROLES = {
    "system": "system",
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response"), "tool"),
}


def read(record: Object) -> Dialogue:
    """The dialogue of a record. Raises DataError."""
    said = record["conversations"]
    if not isinstance(said, list) or not said:
        raise DataError("there are no conversations; each record needs a list of turns")
    turns = [_message(f"turn {number}", turn) for number, turn in enumerate(said, start=1)]
    return messages.read({"messages": turns, "system_prompt": record.get("system"), "tools": record.get("tools")})


def _message(where: str, turn: object) -> Message:
    if not isinstance(turn, dict) or not isinstance(turn.get("from"), str) or not isinstance(turn.get("value"), str):
        raise DataError(f"{where} must be an object with from and value, both text")
    speaker, value = turn["from"], turn["value"]
    if speaker not in _ROLES:
        raise DataError(f"{where} is from {speaker!r}; use system, human, gpt, function_call or observation")
    message: Message = {"role": _ROLES[speaker], "content": value} | {
        key: held for key, held in turn.items() if key not in ("from", "value")
    }
    if speaker == "function_call":
        message |= {"content": None, "tool_calls": shapes.calls(shapes.json_value(where, value))}
    return message

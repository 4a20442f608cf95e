"""Records of glaive-function-calling-v2 as published: one text of functions, one of turns."""

from __future__ import annotations

import json
import re

from mistral7b.data.instruct import shapes
from mistral7b.data.instruct.shapes import Dialogue, Message, Object, Tools
from mistral7b.errors import DataError

KEYS = {"system", "chat"}
_TURN = re.compile(r"(?:\A|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*")
_CALL = re.compile(r"""\{\s*"name":\s*("(?:[^"\\]|\\.)*"),\s*"arguments":\s*'(.*)'\s*\}""", re.DOTALL)
_END = "<|endoftext|>"


def read(record: Object) -> Dialogue:
    """The dialogue of a record. The sentence that introduces its functions gives way to the tools. Raises DataError."""
    system, tools = _functions(shapes.text(record, "system"))
    messages: list[Message] = [{"role": "system", "content": system}] if system and not tools else []
    before, *found = _TURN.split(shapes.text(record, "chat"))
    if before.strip() or not found:
        raise DataError("chat must be turns that begin with USER:, ASSISTANT: or FUNCTION RESPONSE:")
    messages += [_message(speaker, said) for speaker, said in zip(found[::2], found[1::2], strict=True)]
    return shapes.dialogue(messages, tools)


def _functions(text: str) -> tuple[str, Tools]:
    """(What the text says, the functions that it lists)."""
    words, brace, listed = text.strip().removeprefix("SYSTEM:").strip().partition("{")
    listed = brace + listed
    found: list[object] = []
    while listed:
        try:
            function, end = json.JSONDecoder().raw_decode(listed)
        except (ValueError, RecursionError):
            raise DataError("the functions in system are not JSON") from None
        found.append(function)
        listed = listed[end:].strip()
    return words.strip(), shapes.tools(found)


def _message(speaker: str, said: str) -> Message:
    said = said.replace(_END, "").strip()
    if speaker == "USER":
        return {"role": "user", "content": said}
    if speaker == "FUNCTION RESPONSE":
        return {"role": "tool", "content": said}
    words, marker, call = said.partition("<functioncall>")
    message: Message = {"role": "assistant", "content": words.strip() or None}
    return message | {"tool_calls": shapes.calls(_call(call.strip()))} if marker else message


def _call(text: str) -> object:
    """A call; its arguments are JSON, or JSON between single quotes."""
    if quoted := _CALL.fullmatch(text):
        return {"name": json.loads(quoted[1]), "arguments": quoted[2].replace("\\'", "'")}
    return shapes.json_value("a function call", text)

"""Tool calls: the JSON a model writes after [TOOL_CALLS], and the nine-character ids the v3 template wants."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NoReturn

_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 9


@dataclass(frozen=True)
class ToolCall:
    """One call: `arguments` is the JSON text of an object, as in the OpenAI API."""

    id: str
    name: str
    arguments: str


def fits(id: str) -> bool:
    """True for the ids v3 was trained on: nine letters or digits (FACTS 3.3)."""
    return re.fullmatch(r"[a-zA-Z0-9]{9}", id) is not None


def make_id(seed: str, taken: Collection[str]) -> str:
    """An id that fits, the same for the same seed, unlike any in `taken`."""
    attempt = 0
    while True:
        digest = sha256(f"{attempt}:{seed}".encode("utf-8", "surrogatepass")).digest()
        made = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:_ID_LENGTH])
        if made not in taken:
            return made
        attempt += 1


def fit_ids(ids: Iterable[str]) -> dict[str, str]:
    """Each id with one that fits: itself where it does, else one made from it. No two ids share one."""
    distinct = list(dict.fromkeys(ids))
    fitted = {id: id for id in distinct if fits(id)}
    taken = set(fitted)
    for id in distinct:
        if id not in fitted:
            fitted[id] = make_id(id, taken)
            taken.add(fitted[id])
    return fitted


def json_object(text: str) -> dict[str, Any] | None:
    """`text` as one JSON object, or None. NaN and Infinity, which Python would accept, are not JSON."""
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_calls(text: str, taken: Collection[str] = ()) -> tuple[list[ToolCall], str] | None:
    """The calls that `text` begins with and the text after them, or None if it does not begin with whole, valid JSON.

    `[{"name": …, "arguments": {…}, "id": …}, …]` as the templates write it, or one such object without the list.
    Arguments that are missing are {}; arguments given as JSON text are read. An id that is missing, does not fit or stands in
    `taken` is replaced by one made from the call and its place.
    """
    text = text.lstrip()
    try:
        found, end = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text)
        json.dumps(found, ensure_ascii=False).encode()  # an escaped lone surrogate is valid JSON that nobody could send on
    except (ValueError, RecursionError):
        return None
    calls: list[ToolCall] = []
    for item in found if isinstance(found, list) else [found]:
        call = _read_call(item, {*taken, *(call.id for call in calls)})
        if call is None:
            return None
        calls.append(call)
    return (calls, text[end:]) if calls else None


def _read_call(item: object, taken: Collection[str]) -> ToolCall | None:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return None
    arguments = item.get("arguments", {})
    if isinstance(arguments, str):
        arguments = json_object(arguments)
    if not isinstance(arguments, dict):
        return None
    text = json.dumps(arguments, ensure_ascii=False)
    id = item.get("id")
    if not isinstance(id, str) or not fits(id) or id in taken:
        id = make_id(f"{len(taken)}:{item['name']}:{text}", taken)
    return ToolCall(id=id, name=item["name"], arguments=text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

"""OpenAssistant's message trees, nested or one row a message; of each tree the path of the best-ranked replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mistral7b.data.instruct import shapes
from mistral7b.data.instruct.records import Record
from mistral7b.data.instruct.shapes import Dialogue, Message, Object
from mistral7b.errors import DataError

KEYS = {"message_tree_id", "prompt"}
_ROLES = {"prompter": "user", "assistant": "assistant"}


def read(record: Object) -> Dialogue:
    """The dialogue of a nested tree: from its prompt on the reply of the lowest rank, each time. Raises DataError."""
    node = record["prompt"]
    messages: list[Message] = []
    while node is not None:
        if not isinstance(node, dict) or node.get("role") not in _ROLES:
            raise DataError("a message of a tree must be an object with text and the role prompter or assistant")
        messages.append({"role": _ROLES[node["role"]], "content": shapes.text(node, "text")})
        node = _best(node.get("replies") or [])
    if messages[-1]["role"] == "user":
        messages.pop()
    if not messages:
        raise DataError("nobody answered this prompt")
    return shapes.dialogue(messages, [])


def is_row(value: Object) -> bool:
    """True for one message of a tree that is spread over rows."""
    named = isinstance(value.get("message_id"), str) and isinstance(value.get("parent_id", ""), str | None)
    return named and {"parent_id", "text"} <= set(value)


def trees(rows: Iterable[Record]) -> Iterator[Record]:
    """The nested trees of all rows of a file, each at the place of its prompt; a row without its parent is a fault."""
    rows = list(rows)
    nodes = {row.value["message_id"]: {**row.value, "replies": []} for row in rows}
    for row in rows:
        if row.value["parent_id"] in nodes:
            nodes[row.value["parent_id"]]["replies"].append(nodes[row.value["message_id"]])
    for row in rows:
        parent = row.value["parent_id"]
        if parent is None:
            yield Record(row.place, {"message_tree_id": None, "prompt": nodes[row.value["message_id"]]})
        elif parent not in nodes:
            yield Record(row.place, {}, f"the message it answers, {parent!r}, is not in this file")


def _best(replies: object) -> object:
    if not isinstance(replies, list):
        raise DataError("the replies of a message must be a list")
    kept = [reply for reply in replies if not (isinstance(reply, dict) and reply.get("deleted"))]
    return min(kept, key=_rank, default=None)


def _rank(reply: object) -> float:
    rank = reply.get("rank") if isinstance(reply, dict) else None
    return rank if isinstance(rank, int | float) else float("inf")

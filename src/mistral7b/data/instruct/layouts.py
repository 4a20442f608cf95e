"""Which layout a record is of, and what it says: texts and dialogues, each with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mistral7b.data.instruct import alpaca, glaive, messages, oasst, shapes, sharegpt
from mistral7b.data.instruct.records import Place, Record, read_records
from mistral7b.data.instruct.shapes import Dialogue, Object, Services, Text
from mistral7b.errors import DataError


class Layout(NamedTuple):
    """`needs`: the sets of keys of which one tells the layout. `keys`: those that are read; others say nothing."""

    name: str
    needs: tuple[set[str], ...]
    keys: set[str]
    read: Callable[[Object], Text | Dialogue | list[Dialogue]]


@dataclass(frozen=True, slots=True)
class Found:
    """What one record says, or part of it, or `fault`; `unread` are keys of the record that say nothing."""

    place: Place
    said: Text | Dialogue | None
    fault: str | None = None
    unread: tuple[str, ...] = ()


def _text(record: Object) -> Text:
    if record.get("text") is not None and record.get("content") is not None:
        raise DataError("it has both text and content; keep one of them")
    found = shapes.text(record, "text") or shapes.text(record, "content")
    if not found.strip():
        raise DataError("its text is empty")
    return Text(found)


LAYOUTS = (
    Layout("messages", ({"messages"}, {"interactions"}), messages.KEYS, messages.read),
    Layout("ShareGPT", ({"conversations"},), sharegpt.KEYS, sharegpt.read),
    Layout("Glaive", ({"system", "chat"},), glaive.KEYS, glaive.read),
    Layout("OpenAssistant", ({"message_tree_id", "prompt"},), oasst.KEYS, oasst.read),
    Layout(
        "Alpaca",
        tuple({asked, answer} for asked in ("instruction", "prompt", "question") for answer in (*alpaca.ANSWERS, "instances")),
        alpaca.KEYS,
        alpaca.read,
    ),
    Layout("text", ({"text"}, {"content"}), {"text", "content"}, _text),
)


def read_dialogues(path: Path, services: Services) -> Iterator[Found]:
    """All that a file says, record by record, OpenAssistant's rows at the end. Raises DataError for a file, not a record."""
    rows: list[Record] = []
    for record in read_records(path):
        if not record.fault and oasst.is_row(record.value):
            rows.append(record)
        else:
            yield from read_record(record, services)
    for tree in oasst.trees(rows):
        yield from read_record(tree, services)


def read_record(record: Record, services: Services) -> Iterator[Found]:
    """What one record says, or the one fault that keeps it from saying anything."""
    if record.fault:
        yield Found(record.place, None, record.fault)
        return
    keys = set(record.value)
    layout = next((layout for layout in LAYOUTS if any(needed <= keys for needed in layout.needs)), None)
    if layout is None:
        listed = ", ".join(map(repr, sorted(keys)[:8])) or "none"
        yield Found(record.place, None, f"of no known layout, with the keys {listed}; give messages, or a text")
        return
    try:
        said = layout.read(with_tools(record.value, services) if "services" in layout.keys else record.value)
    except DataError as error:
        yield Found(record.place, None, str(error))
        return
    unread = tuple(sorted(keys - layout.keys))
    for one in said if isinstance(said, list) else [said]:
        yield Found(record.place, one, unread=unread)


def read_services(path: Path) -> Services:
    """The tools of each service, from a JSON object of lists. Raises DataError."""
    try:
        found = json.loads(Path(path).read_bytes())
        if not isinstance(found, dict):
            raise DataError(f"{path} must be a JSON object of service names, each with a list of tools")
        return {name: shapes.tools(listed) for name, listed in found.items()}
    except (ValueError, RecursionError):
        raise DataError(f"{path} is not JSON; give an object of service names, each with a list of tools") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def with_tools(record: Object, services: Services) -> Object:
    """`record` with the tools of the services it names, unless it has tools of its own."""
    named = record.get("services")
    if not named or record.get("tools") or record.get("available_tools"):
        return record
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise DataError("services must be a list of names")
    for name in named:
        if name not in services:
            raise DataError(f"its tools are those of service {name!r}; give the file that lists the tools of each service")
    return {**record, "tools": [tool for name in named for tool in services[name]]}

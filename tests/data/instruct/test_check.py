"""Faults with their places, what can be mended, and the corrected file that a run then takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.instruct.check import check, corrected
from mistral7b.data.instruct.mends import mended
from mistral7b.data.instruct.samples import Samples
from mistral7b.data.instruct.shapes import Dialogue
from mistral7b.errors import DataError
from mistral7b.tokens.dialogue import samples_of
from mistral7b.tokens.tokenizer import Tokenizer

V1, V2, V3 = (Tokenizer.published(version) for version in ("v1", "v2", "v3"))


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "1"}


def call(id: str, name: str = "f") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}


SYSTEM = {"role": "system", "content": "s"}
MENDS: list[tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = [
    (
        [user("a"), said("b"), said("c")],
        [user("a"), said("b\n\nc", tool_calls=[])],
        "messages 2 and 3 are both from the assistant",
    ),
    ([user("a"), said("b"), user("c")], [user("a"), said("b")], "message 3 from the user is followed by no reply"),
    ([said("hi"), user("a"), said("b")], [user("a"), said("b")], "message 1 from the assistant answers nothing"),
    ([user("a"), said("b", mood="glad")], [user("a"), said("b")], "message 2 has 'mood', which cannot be used"),
    (
        [user("a"), said("so", tool_calls=[call("callParis")])],
        [user("a"), said(None, tool_calls=[call("callParis")])],
        "message 2 has text beside its tool calls",
    ),
    (
        [user("a"), said(None, tool_calls=[call("callParis")]), result("x"), said("b")],
        [
            user("a"),
            said(None, tool_calls=[call("callParis")]),
            result("callParis"),
            said("b"),
        ],
        "message 3 is the result of no call 'x'",
    ),
]


@pytest.mark.parametrize(("messages", "right", "says"), MENDS)
def test_what_can_be_mended_is(tmp_path: Path, messages: list[Any], right: list[Any], says: str) -> None:
    path, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    path.write_text("\n" + json.dumps({"messages": messages}) + "\n")
    with pytest.raises(DataError, match=says) as error:
        Samples.read([path], V3, length=64)
    assert str(error.value).startswith(f"{path}, line 2: ")
    report = corrected([path], target, V3)
    (fault,) = report.faults
    assert (fault.place.file, fault.place.number, fault.mendable) == (path, 2, True)
    assert says in fault.what
    assert json.loads(target.read_text()) == {"messages": right}
    assert [Samples.read([target], V3, length=64).sample(0)] == samples_of(V3, right)
    assert check([target], V3).faults == []


def test_what_cannot_be_is_left_out(tmp_path: Path) -> None:
    path, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    records = [
        {"text": "fine"},
        {"messages": [user("a"), said("b", weight=0)]},  # PAINS 43: all of it masked
        {"messages": [user("a"), said("b", weight=0), user("c"), said("d")], "source": "x"},
        {"messages": [user("a"), said("")]},
        {"messages": [{"role": "narrator", "content": "a"}, said("b")]},
        {"messages": [user("a"), said(None, tool_calls=[call("callParis", "no name")])]},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "{\n")
    report = corrected([path, tmp_path / "none.jsonl"], target, V3, length=8)
    assert [(fault.place.number, fault.mendable) for fault in report.faults] == [(n, False) for n in (2, 4, 5, 6, 7, 0)]
    assert str(report.faults[0]).startswith(f"{path}, line 2: nothing of it is learned")
    assert str(report.faults[-1]) == f"{tmp_path / 'none.jsonl'}: cannot be read: No such file or directory"
    assert (report.records, report.kept, report.samples, report.over) == (7, 2, 2, 1)
    assert report.unread == {"source": 1}
    read = Samples.read([target], V3, length=64)
    assert (report.tokens, report.trained) == (len(read.ids), read.trained.sum())
    assert report.longest == max(len(read.sample(i).ids) for i in range(2))
    assert json.loads(target.read_text().splitlines()[1])["messages"] == records[2]["messages"]


def test_a_corrected_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{\n")
    with pytest.raises(DataError, match="can be used"):
        corrected([path], tmp_path / "b.jsonl", V3)
    with pytest.raises(DataError, match="name another"):
        corrected([path], path, V3)
    with pytest.raises(DataError, match="cannot be written"):
        corrected([path], tmp_path / "none" / "b.jsonl", V3)
    assert [held.name for held in tmp_path.iterdir()] == ["a.jsonl"]
    assert path.read_text() == "{\n"


def test_what_rendering_changes_is_noted_and_no_fault(tmp_path: Path) -> None:
    """PAINS 29 and 30: roles that do not alternate, system prompts further down, ids that do not fit, all told."""
    path = tmp_path / "a.jsonl"
    talk = [
        user("a"),
        user("b"),
        said("c"),
        {"role": "system", "content": "s"},
        user("d"),
        said(None, tool_calls=[call("call_1")]),
    ]
    path.write_text(json.dumps({"messages": talk}) + "\n")
    report = check([path], V3)
    assert report.faults == []
    notes = "\n".join(map(str, report.notes))
    assert f"{path}, line 1: joined messages 1 and 2, both from the user" in notes
    assert "moved system message 4 to the front" in notes
    assert "tool call id 'call_1' became" in notes


def test_v1_has_no_tools(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [user("a"), said("b")], "tools": [{"name": "f", "parameters": {}}]}) + "\n")
    assert check([path], V2).faults == []
    (fault,) = check([path], V1).faults
    assert "v1 template has no tools" in fault.what


KEYS = ["role", "content", "text", "tool_calls", "function", "name", "arguments", "weight", "id", "tool_call_id", "prefix"]
FIELDS = ["messages", "conversations", "tools", "text", "prompt", "completion", "instruction", "output", "instances"]
OTHERS = ["system", "chat", "services", "input", "message_tree_id", "message_id", "parent_id"]
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, -2, "", "a", "user", "assistant", "tool", "function", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.sampled_from([*FIELDS, *OTHERS]), VALUES, max_size=4)


@given(records=st.lists(VALUES | RECORDS, min_size=1, max_size=4))
def test_no_record_crashes_a_check(tmp_path_factory: pytest.TempPathFactory, records: list[Any]) -> None:
    """PAINS 47: the validator itself fell over odd lines."""
    path = tmp_path_factory.mktemp("odd") / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    for tokenizer in (V1, V3):
        report = check([path], tokenizer)
        assert report.kept or report.faults
        for fault in report.faults:
            assert "\n" not in str(fault)
            str(fault).encode()


REPLIES = [said("b"), said("b", weight=0), said(None, tool_calls=[call("callParis")]), said("x", tool_calls=[call("call Rome")])]
TURNS = st.sampled_from([user("a"), *REPLIES, SYSTEM, result("x")])


@given(messages=st.lists(TURNS, min_size=1, max_size=8))
def test_mending_leaves_nothing_to_mend(messages: list[dict[str, Any]]) -> None:
    weights = [0 if message.get("weight") == 0 else 1 for message in messages]
    given_ = Dialogue([{key: value for key, value in message.items() if key != "weight"} for message in messages], [], weights)
    right, faults = mended(given_)
    assert mended(right) == (right, [])
    if not faults:
        assert right == given_

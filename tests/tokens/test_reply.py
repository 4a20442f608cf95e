"""CallReader: the same calls however the text is cut, and nothing given out that is not certain."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.tokens.calls import ToolCall, fits, read_calls
from mistral7b.tokens.reply import Arguments, CallReader, CallStarted

WEATHER = '[{"name": "get_weather", "arguments": {"city": "Par\\"is", "days": [1, 2]}, "id": "abcdefghi"}]'


def read(pieces: list[str]) -> tuple[list[CallStarted | Arguments], list[ToolCall] | None, CallReader]:
    reader = CallReader("reply")
    events = [event for piece in pieces for event in reader.push(piece)]
    return events, reader.finish(), reader


def joined(events: list[CallStarted | Arguments]) -> list[ToolCall]:
    """The calls as a client of the stream puts them together."""
    calls: list[ToolCall] = []
    for event in events:
        if isinstance(event, CallStarted):
            assert event.index == len(calls)
            calls.append(ToolCall(id=event.id, name=event.name, arguments=""))
        else:
            before = calls[event.index]
            calls[event.index] = ToolCall(id=before.id, name=before.name, arguments=before.arguments + event.text)
    return calls


def cut(text: str, places: list[int]) -> list[str]:
    marks = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(marks)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=6), values, max_size=3)


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"name": draw(st.text(max_size=8)), "arguments": draw(arguments), "id": draw(values)}
    if draw(st.booleans()):
        found["arguments"] = json.dumps(found["arguments"])
    if draw(st.booleans()):
        del found[draw(st.sampled_from(["arguments", "id"]))]
    order = draw(st.permutations(sorted(found)))
    return {key: found[key] for key in order}


@given(
    st.lists(calls(), min_size=1, max_size=3),
    st.lists(st.integers(0, 999), max_size=12),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_any_cut_of_valid_calls_gives_the_same(found: list[Any], places: list[int], indent: int | None, ascii: bool) -> None:
    text = json.dumps(found, indent=indent, ensure_ascii=ascii)
    events, whole, reader = read(cut(text, places))
    assert whole is not None
    assert joined(events) == whole == reader.calls == read([text])[1]
    plain = read_calls(text)
    assert plain is not None
    assert [(call.name, json.loads(call.arguments)) for call in whole] == [(c.name, json.loads(c.arguments)) for c in plain[0]]
    assert all(fits(call.id) for call in whole)
    assert len({call.id for call in whole}) == len(whole)


@given(
    st.text(alphabet='[]{}",:\\ a1', max_size=30) | st.text(max_size=20), st.lists(st.integers(0, 99), max_size=6), st.booleans()
)
def test_any_cut_of_any_text_gives_the_same(noise: str, places: list[int], broken: bool) -> None:
    text = WEATHER[: len(WEATHER) - len(noise)] + noise if broken else noise
    events, whole, reader = read(cut(text, places))
    once = read([text])
    assert (joined(events), whole) == (joined(once[0]), once[1])
    assert joined(events) == reader.calls
    if whole is not None:
        assert all(isinstance(json.loads(call.arguments), dict) for call in whole)


def test_arguments_are_raw() -> None:
    raw = '{ "a" :1.50,\n"b": "\\u00e9é" }'
    assert read([f'[{{"arguments":{raw} , "name":"f"}}]'])[1] == read([f'{{"name":"f","arguments":{raw}}}'])[1]
    events, _, _ = read([f' [ {{"name" : "f","arguments":{raw}}} ] \n'])
    assert [event.text for event in events if isinstance(event, Arguments)] == [raw]


def test_what_is_certain_comes_at_once() -> None:
    reader = CallReader("reply")
    assert reader.push('[{"name": "get_weather') == []
    (started,) = reader.push('"')
    assert isinstance(started, CallStarted)
    assert (started.index, started.name) == (0, "get_weather")
    assert reader.push(', "arguments": ') == []
    given = [event for character in '{"a": [1' for event in reader.push(character)]
    assert given == [Arguments(0, character) for character in '{"a": [1']
    assert reader.push("]}, ") == [Arguments(0, "]}")]
    assert reader.finish() is None
    assert [call.arguments for call in reader.calls] == ['{"a": [1]}']


def test_arguments_wait_for_the_name() -> None:
    reader = CallReader("reply")
    assert reader.push('[{"id": "x", "arguments": {"a": 1}, ') == []
    started, arguments = reader.push('"name": "f"')
    assert isinstance(started, CallStarted)
    assert arguments == Arguments(0, '{"a": 1}')


def test_one_call_without_a_list_and_several_lists() -> None:
    text = '{"name": "f"} [{"name": "g", "arguments": "{\\"a\\": 1}"}]{"name": "h"}'
    whole = read([text])[1]
    assert whole is not None
    assert [(call.name, call.arguments) for call in whole] == [("f", "{}"), ("g", '{"a": 1}'), ("h", "{}")]


def test_ids_are_ours_and_come_from_the_seed() -> None:
    text = '[{"name": "f", "id": "abcdefghi"}, {"name": "f", "id": "abcdefghi"}]'
    whole, again, other = (CallReader(seed) for seed in ("one", "one", "two"))
    ids = []
    for reader in (whole, again, other):
        reader.push(text)
        ids.append([call.id for call in reader.calls])
    assert ids[0] == ids[1]
    assert not {"abcdefghi"} & set(ids[0])
    assert len({*ids[0], *ids[2]}) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "[[]]",
        "Hello",
        WEATHER[:-1],
        WEATHER[:-2],
        WEATHER + " done",
        "[" + WEATHER + "]",
        '[{"name": "f"},]',
        '[{"name": "f",}]',
        '[{"name": "f" "id": 1}]',
        '[{"name": 1}]',
        '[{"arguments": {}}]',
        '[{"name": "f", "name": "g"}]',
        '[{"name": "f", "arguments": {}, "arguments": {}}]',
        '[{"name": "f", "arguments": 1}]',
        '[{"name": "f", "arguments": "1"}]',
        '[{"name": "f", "arguments": {"a": NaN}}]',
        '[{"name": "f", "arguments": {"a": 1]}]',
        '[{"name": "f", "arguments": {"a": "\\ud800"}}]',
        '[{"name": "\\ud800"}]',
        '[{"name": "f", "id": Infinity}]',
        '[{"name": "f", "id": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    ],
)
def test_what_is_no_whole_list_of_calls_is_content(text: str) -> None:
    _, whole, reader = read([text])
    assert whole is None
    assert reader.push("[") == []
    assert reader.finish() is None

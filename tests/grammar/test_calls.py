"""Tool calls: the v3 form to the letter, held to the declared tools."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest

from mistral7b.errors import ChatError, Mistral7BError, RequestError
from mistral7b.grammar.grammars import Grammars
from mistral7b.tokens.chat import parse
from mistral7b.tokens.reply import CallReader
from mistral7b.tokens.tokenizer import Tokenizer
from tests.grammar.schemas import SCHEMAS, closed, listed
from tests.grammar.walks import text_of, walk


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | ({} if parameters is None else {"parameters": parameters})}


WEATHER = closed({"city": {"type": "string", "maxLength": 8}, "days": listed({"type": "integer", "minimum": 1, "maximum": 9}, 3)})
TOOLS = [tool("get_weather", WEATHER), tool("get_time"), tool("turn-off", {"type": "object", "properties": {}})]
SCHEMA_OF = {"get_weather": WEATHER, "get_time": closed({}), "turn-off": closed({})}


def calls_text(tokenizer: Tokenizer, ids: list[int]) -> str:
    assert ids[0] == tokenizer.control_id("[TOOL_CALLS]")
    assert ids[-1] == tokenizer.eos_id
    assert not any(tokenizer.is_control(id) for id in ids[1:-1])
    return text_of(tokenizer, ids)


def test_forced_calls_are_valid_and_as_the_template_writes_them(tiny: Tokenizer, grammars: Grammars) -> None:
    counts, names = set(), set()
    for seed in range(40):
        ids = walk(grammars.calls(TOOLS, required=True, parallel=True), tiny, seed)
        text = calls_text(tiny, ids)
        found = json.loads(text)
        if "\\" not in text:
            assert json.dumps(found, ensure_ascii=False) == text
        for call in found:
            assert list(call) == ["name", "arguments", "id"]
            assert re.fullmatch("[a-zA-Z0-9]{9}", call["id"])
            jsonschema.validate(call["arguments"], SCHEMA_OF[call["name"]])
        reader = CallReader("seed")
        reader.push(text)
        calls = reader.finish()
        assert calls is not None
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [(c["name"], c["arguments"]) for c in found]
        assert [call.name for call in parse(tiny, ids).tool_calls] == [call.name for call in calls]
        counts.add(len(found))
        names |= {call.name for call in calls}
    assert len(counts) > 1
    assert names == set(SCHEMA_OF)


def test_the_template_s_own_calls_pass_the_grammar(tiny: Tokenizer, grammars: Grammars) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Paris", "days": [1, 2]}, "id": "abcDEF123"}
    reply = [tiny.control_id("[TOOL_CALLS]"), *tiny.encode(json.dumps([call])), tiny.eos_id]
    constraint = grammars.calls(TOOLS, required=True, parallel=True)
    for id in reply:
        constraint.advance(id)


def test_one_call_to_the_named_tool(tiny: Tokenizer, grammars: Grammars) -> None:
    for seed in range(10):
        found = json.loads(
            calls_text(tiny, walk(grammars.calls(TOOLS, name="get_time", required=True, parallel=False), tiny, seed))
        )
        assert [(call["name"], call["arguments"]) for call in found] == [("get_time", {})]


def test_most_of_a_call_is_forced(tiny: Tokenizer, grammars: Grammars) -> None:
    constraint = grammars.calls(TOOLS, name="get_time", required=True, parallel=False)
    head = '[{"name": "get_time", "arguments": {}, "id": "'
    forced = constraint.forced()
    assert forced[0] == tiny.control_id("[TOOL_CALLS]")
    assert head.startswith(text_of(tiny, forced))
    assert forced == [forced[0], *tiny.encode(head)][: len(forced)]
    assert len(text_of(tiny, forced)) > len(head) - 3


@pytest.mark.parametrize("number", range(0, len(SCHEMAS), 4))
def test_arguments_fit_any_schema_of_an_object(tiny: Tokenizer, grammars: Grammars, number: int) -> None:
    schema = closed({"value": SCHEMAS[number]})
    schema |= {"$defs": SCHEMAS[number].get("$defs", {})}
    (call,) = json.loads(calls_text(tiny, walk(grammars.calls([tool("f", schema)], required=True, parallel=False), tiny, number)))
    jsonschema.validate(call["arguments"], schema)


def test_text_is_free_until_the_marker_comes(tiny: Tokenizer, grammars: Grammars) -> None:
    constraint = grammars.calls(TOOLS, required=False, parallel=True)
    for id in tiny.encode("Let me look [TOOL_CALLS] up"):
        assert constraint.mask().all()
        assert constraint.mask().shape == (tiny.vocab_size,)
        assert constraint.forced() == []
        assert not constraint.done
        constraint.advance(id)
    marker = tiny.control_id("[TOOL_CALLS]")
    constraint.advance(marker)
    assert not constraint.mask()[tiny.eos_id]
    assert constraint.forced()
    ids = [marker, *walk(constraint, tiny, seed=1)]
    assert json.loads(calls_text(tiny, ids))
    assert constraint.done
    with pytest.raises(ValueError, match="vocabulary"):
        constraint.advance(tiny.vocab_size)


def test_v2_calls_have_no_id() -> None:
    v2 = Tokenizer.published("v2")
    constraint = Grammars(v2).calls([tool("get_time")], required=True, parallel=False)
    assert calls_text(v2, walk(constraint, v2, seed=0)) == '[{"name": "get_time", "arguments": {}}]'
    assert np.array_equal(constraint.mask().nonzero()[0], [v2.eos_id])


def test_v1_has_no_tools() -> None:
    with pytest.raises(ChatError, match="v1"):
        Grammars(Tokenizer.published("v1")).calls(TOOLS, required=True, parallel=True)


@pytest.mark.parametrize(
    ("tools", "name", "said"),
    [
        (TOOLS, "get_wether", "'get_wether', which is none of the tools"),
        ([], None, "no tools"),
        ([tool("a"), tool("a")], None, "two tools are called 'a'"),
        ([tool("a b")], None, "'a b'"),
        ([{"type": "retrieval"}], None, "tool 1"),
        ([tool("f", {"type": "string"})], None, "tool 'f': parameters"),
        (
            [tool("f", {"type": "object", "properties": {"a": {"not": {}}}})],
            None,
            "tool 'f': the keyword 'not' at #/properties/a",
        ),
        ([*TOOLS, tool("f", {"properties": {"a": {"type": "text"}}})], None, "tool 'f': "),
    ],
)
def test_tools_that_cannot_be_kept_are_named(
    grammars: Grammars, tools: list[dict[str, Any]], name: str | None, said: str
) -> None:
    with pytest.raises(Mistral7BError) as raised:
        grammars.calls(tools, name=name, required=False, parallel=True)
    assert isinstance(raised.value, RequestError | ChatError)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)

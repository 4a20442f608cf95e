"""Tools, calls and results in v2 and v3 against prompts written out by hand, and calls read back from ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import ChatError
from mistral7b.tokens.calls import fit_ids, fits
from mistral7b.tokens.chat import ToolCall, parse, render
from mistral7b.tokens.tokenizer import Tokenizer
from tests.tokens.spelling import (
    BOS,
    CALLS,
    END_INST,
    END_RESULTS,
    END_TOOLS,
    EOS,
    INST,
    RESULTS,
    TOOLS,
    Control,
    pieces,
    spelled,
)
from tests.tokens.test_chat import Messages

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather in a café's “city”",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WEATHER_JSON = (
    '[{"type": "function", "function": {"name": "weather", "description": "Weather in a café\'s “city”", '
    '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]'
)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def calls(*made: tuple[str, str, str]) -> dict[str, Any]:
    """An assistant message of calls, each (id, name, arguments)."""
    listed = [{"id": id, "type": "function", "function": {"name": name, "arguments": text}} for id, name, text in made]
    return {"role": "assistant", "content": None, "tool_calls": listed}


def result(id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


SINGLE = [user("Paris?"), calls(("callParis", "weather", '{"city":"Paris"}')), result("callParis", '{"sky":"clear"}')]


def test_tools_stand_before_the_last_user_message(v2: Tokenizer, v3: Tokenizer, small: Tokenizer) -> None:
    messages = [user("Hello"), {"role": "assistant", "content": "Hi"}, user("Paris?")]
    for tokenizer in (v2, v3, small):
        rendered = render(tokenizer, messages, [WEATHER])
        spelling = (BOS, INST, "Hello", END_INST, "Hi", EOS, TOOLS, WEATHER_JSON, END_TOOLS, INST, "Paris?", END_INST)
        assert rendered.ids == spelled(tokenizer, *spelling)
        assert rendered.notes == []
    assert render(v3, messages, []) == render(v3, messages)


def test_a_tool_without_description_or_parameters(v3: Tokenizer) -> None:
    tool = {"type": "function", "function": {"name": "now", "strict": True, "parameters": None}}
    listed = '[{"type": "function", "function": {"name": "now", "description": "", "parameters": {}}}]'
    assert render(v3, [user("a")], [tool]).ids == spelled(v3, BOS, TOOLS, listed, END_TOOLS, INST, "a", END_INST)


def test_a_call_and_its_result_in_v3(v3: Tokenizer) -> None:
    rendered = render(v3, SINGLE, [WEATHER])
    call = '[{"name": "weather", "arguments": {"city": "Paris"}, "id": "callParis"}]'
    answer = '{"content": {"sky": "clear"}, "call_id": "callParis"}'
    asked = (BOS, TOOLS, WEATHER_JSON, END_TOOLS, INST, "Paris?", END_INST)
    assert rendered.ids == spelled(v3, *asked, CALLS, call, EOS, RESULTS, answer, END_RESULTS)
    assert rendered.notes == []
    assert pieces(v3, rendered.ids).endswith(
        '[TOOL_RESULTS]▁{"content":▁{"sky":▁"clear"},▁"call_id":▁"callParis"}[/TOOL_RESULTS]'
    )


def test_a_call_and_its_result_in_v2(v2: Tokenizer) -> None:
    rendered = render(v2, SINGLE)
    call, answer = '[{"name": "weather", "arguments": {"city": "Paris"}}]', '[{"name": "weather", "content": {"sky": "clear"}}]'
    assert rendered.ids == spelled(v2, BOS, INST, "Paris?", END_INST, CALLS, call, EOS, RESULTS, answer, END_RESULTS)
    assert rendered.notes == []
    named = [SINGLE[0], SINGLE[1], {"role": "tool", "name": "weather", "content": '{"sky":"clear"}'}]
    assert render(v2, named) == rendered


PARALLEL = [
    user("Paris, Rome?"),
    calls(("callParis", "weather", '{"city":"Paris"}'), ("callRome1", "weather", '{"city":"Rome"}')),
    result("callParis", "clear"),
    result("callRome1", "17"),
]
PARALLEL_JSON = (
    '[{"name": "weather", "arguments": {"city": "Paris"}, "id": "callParis"}, '
    '{"name": "weather", "arguments": {"city": "Rome"}, "id": "callRome1"}]'
)


def test_parallel_calls_in_v3(v3: Tokenizer) -> None:
    paris, rome = '{"content": "clear", "call_id": "callParis"}', '{"content": 17, "call_id": "callRome1"}'
    called = (BOS, INST, "Paris, Rome?", END_INST, CALLS, PARALLEL_JSON, EOS)
    rendered = render(v3, PARALLEL)
    assert rendered.notes == []
    assert rendered.ids == spelled(v3, *called, RESULTS, paris, END_RESULTS, RESULTS, rome, END_RESULTS)


def test_parallel_calls_in_v2_have_no_place_for_two_results(v2: Tokenizer) -> None:
    with pytest.raises(ChatError, match="does not support multiple tool results"):
        render(v2, PARALLEL)


def several(answer: str = "It is clear.") -> Messages:
    """Two rounds of one call each, the second after the first was answered and a new question asked."""
    again = [user("Rome?"), calls(("callRome1", "weather", '{"city":"Rome"}')), result("callRome1", "rain")]
    return [*SINGLE, {"role": "assistant", "content": answer}, *again]


def test_several_calls_in_v3_keep_their_history(v3: Tokenizer) -> None:
    first = '[{"name": "weather", "arguments": {"city": "Paris"}, "id": "callParis"}]'
    second = '[{"name": "weather", "arguments": {"city": "Rome"}, "id": "callRome1"}]'
    paris = (BOS, INST, "Paris?", END_INST, CALLS, first, EOS)
    told = (RESULTS, '{"content": {"sky": "clear"}, "call_id": "callParis"}', END_RESULTS, "It is clear.", EOS)
    rome = (TOOLS, WEATHER_JSON, END_TOOLS, INST, "Rome?", END_INST, CALLS, second, EOS)
    wet = (RESULTS, '{"content": "rain", "call_id": "callRome1"}', END_RESULTS)
    rendered = render(v3, several(), [WEATHER])
    assert rendered.ids == spelled(v3, *paris, *told, *rome, *wet)
    assert rendered.notes == []


def test_several_calls_in_v2_drop_those_before_the_last_question(v2: Tokenizer) -> None:
    call, answer = '[{"name": "weather", "arguments": {"city": "Rome"}}]', '[{"name": "weather", "content": "rain"}]'
    told = (BOS, INST, "Paris?", END_INST, "It is clear.", EOS)
    rendered = render(v2, several())
    assert rendered.ids == spelled(v2, *told, INST, "Rome?", END_INST, CALLS, call, EOS, RESULTS, answer, END_RESULTS)
    left_out = "left out message {}: v2 keeps tool calls and results only after the last user message"
    assert rendered.notes == [left_out.format(2), left_out.format(3)]


def test_arguments_as_object_and_no_arguments(v3: Tokenizer) -> None:
    as_object = [SINGLE[0], calls(("callParis", "weather", {"city": "Paris"})), SINGLE[2]]  # type: ignore[arg-type]
    assert render(v3, as_object) == render(v3, SINGLE)
    rendered = render(v3, [user("a"), calls(("123456789", "now", "")), result("123456789", "")])
    call, answer = '[{"name": "now", "arguments": {}, "id": "123456789"}]', '{"content": {}, "call_id": "123456789"}'
    assert rendered.ids == spelled(v3, BOS, INST, "a", END_INST, CALLS, call, EOS, RESULTS, answer, END_RESULTS)
    assert rendered.notes == ["wrote the empty result in message 3 as {}"]


# ── ids ──


def test_foreign_ids_are_mapped_alike_in_calls_and_results(v3: Tokenizer) -> None:
    foreign = "call_ab:42/" + "x" * 30
    messages = json.loads(json.dumps(SINGLE).replace("callParis", foreign))
    rendered = render(v3, messages)
    fitted = fit_ids([foreign])[foreign]
    assert fits(fitted)
    assert rendered.ids == render(v3, json.loads(json.dumps(SINGLE).replace("callParis", fitted))).ids
    assert rendered.notes == [f"tool call id {foreign!r} became {fitted!r}: v3 wants nine letters or digits"]
    assert render(v3, messages) == rendered


@given(ids=st.lists(st.text(min_size=1, max_size=12) | st.from_regex(r"[a-zA-Z0-9]{9}", fullmatch=True)))
def test_fitting_ids_are_kept_and_others_get_one_of_their_own(ids: list[str]) -> None:
    fitted = fit_ids(ids)
    assert fitted.keys() == set(ids)
    assert len(set(fitted.values())) == len(fitted)
    assert all(fits(new) and (new == old or not fits(old)) for old, new in fitted.items())


def test_a_made_id_makes_way_for_one_that_is_there() -> None:
    made = fit_ids(["x"])["x"]
    later = fit_ids(["x", made])
    assert later[made] == made
    assert later["x"] != made
    assert fit_ids(["x", "y"])["x"] == made


def test_what_fits() -> None:
    assert fits("abcDEF012")
    assert not any(map(fits, ["abcDEF01", "abcDEF0123", "abcDEF01-", "abcDEF012\n", "äbcDEF012", ""]))


# ── the inverse ──


@pytest.mark.parametrize("messages", [SINGLE, PARALLEL, several()])
def test_calls_parse_to_what_was_rendered(v3: Tokenizer, messages: Messages) -> None:
    for place, message in enumerate(messages):
        if not message.get("tool_calls"):
            continue
        answered = place + 1 + len(message["tool_calls"])
        prompt, ids = render(v3, messages[:place]).ids, render(v3, messages[:answered]).ids
        parsed = parse(v3, ids[len(prompt) :])
        assert parsed.content == ""
        assert [(call.id, call.name, json.loads(call.arguments)) for call in parsed.tool_calls] == [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message["tool_calls"]
        ]


NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\u2581" not in json.dumps(value, ensure_ascii=False))  # U+2581 is how pieces spell a space
ARGUMENTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(made=st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=3))
def test_any_calls_parse_to_what_was_rendered(v3: Tokenizer, v2: Tokenizer, made: list[tuple[str, dict[str, Any]]]) -> None:
    message = calls(*((f"identity{place}", name, json.dumps(arguments)) for place, (name, arguments) in enumerate(made)))
    answers = [result(f"identity{place}", "done") for place in range(len(made))]
    ids = render(v3, [user("a"), message, *answers]).ids
    parsed = parse(v3, ids[ids.index(4) + 1 :])
    assert [(call.name, json.loads(call.arguments)) for call in parsed.tool_calls] == made
    assert [call.id for call in parsed.tool_calls] == [f"identity{place}" for place in range(len(made))]
    if len(made) == 1:
        ids = render(v2, [user("a"), message, *answers]).ids
        (call,) = parse(v2, ids[ids.index(4) + 1 :]).tool_calls
        assert (call.name, json.loads(call.arguments)) == made[0]


def test_text_around_calls_is_content(v3: Tokenizer) -> None:
    call = '[{"name": "f", "arguments": {"x": 1}, "id": "abcdefghi"}]'
    parsed = parse(v3, spelled(v3, "Let me see.", CALLS, f"{call} Done.", EOS))
    assert parsed.content == "Let me see. Done."
    assert parsed.tool_calls == [ToolCall(id="abcdefghi", name="f", arguments='{"x": 1}')]


def test_one_call_without_a_list_and_a_control_token_for_each(v3: Tokenizer) -> None:
    one, two = '{"name": "f", "arguments": {"x": 1}}', '[{"name": "g", "arguments": "{\\"y\\": 2}"}]'
    parsed = parse(v3, spelled(v3, CALLS, one, CALLS, two))
    assert [(call.name, call.arguments) for call in parsed.tool_calls] == [("f", '{"x": 1}'), ("g", '{"y": 2}')]


def test_missing_and_repeated_ids_are_made_and_differ(v3: Tokenizer) -> None:
    made = [
        {"name": "f"},
        {"name": "f"},
        {"name": "f", "id": "short"},
        {"name": "f", "id": "abcdefghi"},
        {"name": "f", "id": "abcdefghi"},
    ]
    ids = spelled(v3, CALLS, json.dumps(made))
    found = [call.id for call in parse(v3, ids).tool_calls]
    assert len(set(found)) == 5
    assert all(map(fits, found))
    assert found[3] == "abcdefghi"
    assert found == [call.id for call in parse(v3, ids).tool_calls]
    one = '[{"name": "f", "id": "abcdefghi"}]'
    first, second = parse(v3, spelled(v3, CALLS, one, CALLS, one)).tool_calls
    assert first.id == "abcdefghi" != second.id


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "f", "arguments": {"x": ',
        '[{"name": "f", "arguments": {"x": 1}}, {"name": "g"',
        "[]",
        "",
        "sunny",
        '[{"arguments": {}}]',
        '[{"name": "f", "arguments": [1]}]',
        '[{"name": "f", "arguments": "not JSON"}]',
        '[{"name": "f", "arguments": {"x": NaN}}]',
        '[{"name": "f", "arguments": "{\\"x\\": Infinity}"}]',
        '[{"name": "f", "arguments": {"x": "\\ud800"}}]',
        "[" * 5000,
    ],
)
def test_what_is_no_call_is_content_and_not_lost(v3: Tokenizer, text: str) -> None:
    parsed = parse(v3, spelled(v3, "So:", CALLS, text, EOS))
    assert parsed.tool_calls == []
    assert parsed.content == (f"So: {text}" if text else "So:")


# ── refusals ──

BOTH = calls(("callParis", "weather", "{}")) | {"content": "Let me see."}


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([user("a"), BOTH, SINGLE[2]], "message 2 has both content and tool_calls"),
        (
            [user("a"), {"role": "assistant", "content": "b"}, *SINGLE[1:]],
            "messages 2 and 3 join into one with content and tool_calls",
        ),
        ([user("a"), SINGLE[1], user("b")], "Not the same number of function calls and responses"),
        ([*SINGLE, SINGLE[2]], "Not the same number of function calls and responses"),
        ([user("a"), SINGLE[1], result("other", "b")], "message 3 is the result of no earlier tool call"),
        ([user("a"), SINGLE[2]], "message 2 is the result of no earlier tool call"),
        ([user("a"), SINGLE[1], {"role": "tool", "content": "b"}], "message 3 is a tool result without a tool_call_id"),
        ([user("a"), SINGLE[1], {"role": "tool", "content": "b", "tool_call_id": 5}], "must be the id of a tool call, not 5"),
        ([user("a"), calls(("", "f", "{}")), SINGLE[2]], "message 2 has a tool call without an id"),
        ([user("a"), calls(("callParis", "f", "[1]")), SINGLE[2]], "tool call 1: arguments must be the JSON text of an object"),
        ([user("a"), calls(("callParis", "f", "{")), SINGLE[2]], "arguments must be the JSON text of an object"),
        ([user("a"), calls(("callParis", "no spaces", "{}")), SINGLE[2]], "Function name was no spaces"),
        ([user("a"), calls(("callParis", "f\ud800", "{}")), SINGLE[2]], r"Function name was f\\ud800"),
        ([user("a"), {"role": "assistant", "tool_calls": {}}], "tool_calls must be a list"),
        ([user("a"), {"role": "assistant", "tool_calls": [{"id": "x"}]}], "tool call 1 must be an object with id, type and"),
        ([user("a"), BOTH | {"content": None, "prefix": True}], "a prefix to continue must be text"),
        ([user("a"), SINGLE[1], result("callParis", "[" * 5000)], "cannot hold this conversation"),
    ],
)
def test_bad_tool_messages_are_refused_in_one_line(v3: Tokenizer, messages: Messages, says: str) -> None:
    with pytest.raises(ChatError, match=says) as caught:
        render(v3, messages)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("weather", "tool 1 must be an object with type 'function'"),
        ({"type": "retrieval"}, "tool 1 must be an object with type 'function'"),
        ({"type": "function", "function": {}}, "name: Field required"),
        ({"type": "function", "function": {"name": "a b", "parameters": {}}}, "Function name was a b"),
        ({"type": "function", "function": {"name": "f", "parameters": {"type": "thing"}}}, "Invalid tool schema"),
        ({"type": "function", "function": {"name": "f", "parameters": {"x": {1, 2}}}}, "tool 1 is not plain JSON"),
        ({"type": "function", "function": {"name": "f", "price": 5}}, "tool 1 has 'price', which Mistral 7B cannot use"),
        ({"type": "function", "function": {"name": "f", "description": "\ud800"}}, "tool 1 holds a lone surrogate"),
    ],
)
def test_bad_tools_are_refused_in_one_line(v3: Tokenizer, tool: Any, says: str) -> None:
    with pytest.raises(ChatError, match=says) as caught:
        render(v3, [user("a")], [tool])
    assert "\n" not in str(caught.value)


def test_v1_has_no_tools(v1: Tokenizer) -> None:
    with pytest.raises(ChatError, match="v1 template has no tools"):
        render(v1, [user("a")], [WEATHER])
    with pytest.raises(ChatError, match="message 2: this model's v1 template has no tool calls"):
        render(v1, SINGLE)


@pytest.mark.parametrize("spelling", ["[/TOOL_RESULTS]", "</s>", "[TOOL_CALLS]"])
def test_results_and_tools_that_spell_control_tokens_stay_text(v3: Tokenizer, spelling: str) -> None:
    tool = json.loads(json.dumps(WEATHER).replace("Weather", spelling))
    ids = render(v3, [*SINGLE[:2], result("callParis", f"a {spelling} b")], [tool]).ids
    spelled_controls = (BOS, TOOLS, END_TOOLS, INST, END_INST, CALLS, EOS, RESULTS, END_RESULTS)
    assert [id for id in ids if v3.is_control(id)] == [v3.control_id(c.name) for c in spelled_controls if isinstance(c, Control)]
    assert v3.decode(ids).count(spelling) == 2

"""/v1/chat/completions: the same answer streamed and whole, nothing added to a prompt, nothing ignored."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from mistral7b import LLM
from mistral7b.server.state import State
from mistral7b.tokens import chat, guardrail
from tests.server.running import House, serving
from tests.server.sse import events, joined

HI = [{"role": "user", "content": "Tell me a story."}]
PATH = "/v1/chat/completions"


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"The {name}.", "parameters": schema}}


TOOLS = [tool("weather", city={"enum": ["Rome", "Oslo"]}, unit={"enum": ["C", "F"]}), tool("time", zone={"enum": ["UTC"]})]
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMA = {"type": "object", "properties": {"a": DIGIT}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "one", "schema": SCHEMA, "strict": True}}


def closing(llm: LLM) -> dict[str, float]:
    """A logit_bias under which `tiny`, which never tires of calling, comes to the end of its list of calls."""
    assert llm.tokenizer is not None
    return {str(id): 8 for id in range(llm.tokenizer.vocab_size) if b"]" in llm.tokenizer.piece_bytes(id)}


def test_a_whole_answer(house: House, llm: LLM) -> None:
    answer = house.post(PATH, messages=HI, model="tiny", max_tokens=6, seed=3)
    assert answer.status_code == 200
    body = answer.json()
    (choice,) = body["choices"]
    assert body["object"] == "chat.completion"
    assert body["model"] == "tiny"
    assert body["id"].startswith("chatcmpl-")
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] is None
    prompt = len(chat.render(llm.tokenizer, HI).ids)  # type: ignore[arg-type]
    counts = body["usage"]
    assert (counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]) == (prompt, 6, prompt + 6)
    assert "notes" not in body


@pytest.mark.parametrize(
    "asked",
    [
        {"max_tokens": 12, "n": 3, "logprobs": True, "top_logprobs": 3},
        {"max_tokens": 12, "temperature": 0, "stop": [" the", "and"]},
        {"max_tokens": 60, "stop": "."},
        {"max_tokens": 40, "response_format": FORMAT, "logprobs": True},
        {"max_tokens": 90, "tools": TOOLS, "tool_choice": "required", "logprobs": True, "n": 2},
        {"max_tokens": 90, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        {"max_tokens": 25, "tools": TOOLS, "tool_choice": "any", "logprobs": True, "top_logprobs": 1},
        {"max_tokens": 2, "tools": TOOLS, "tool_choice": "any"},
        {"max_tokens": 20, "tools": TOOLS},
        {"max_tokens": 40, "tools": TOOLS, "response_format": FORMAT},
        {"max_tokens": 8, "top_k": 5, "min_p": 0.01, "repetition_penalty": 1.1, "presence_penalty": 1, "frequency_penalty": 0.5},
        {"max_tokens": 8, "logit_bias": {"900": 100}, "min_tokens": 3, "ignore_eos": True, "top_p": 0.9},
    ],
)
def test_streamed_and_whole_are_equal(house: House, asked: dict[str, Any]) -> None:
    for seed in (1, 2):
        whole = house.post(PATH, messages=HI, seed=seed, **asked)
        assert whole.status_code == 200, whole.text
        streamed = house.post(PATH, messages=HI, seed=seed, stream=True, stream_options={"include_usage": True}, **asked)
        assert joined(streamed.text) == whole.json()["choices"]
        *_, last, _ = events(streamed.text)
        counts = whole.json()["usage"]
        assert last["choices"] == []
        assert {**last["usage"], "prompt_tokens_details": None} == {**counts, "prompt_tokens_details": None}


def test_forced_calls_are_calls_of_the_declared_tools(house: House, llm: LLM) -> None:
    end = closing(llm)
    for seed in range(4):
        body = house.post(
            PATH, messages=HI, seed=seed, max_tokens=300, tools=TOOLS, tool_choice="required", logit_bias=end
        ).json()
        (choice,) = body["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        for call in choice["message"]["tool_calls"]:
            arguments = json.loads(call["function"]["arguments"])
            assert set(arguments) == {"weather": {"city", "unit"}, "time": {"zone"}}[call["function"]["name"]]
            assert len(call["id"]) == 9


def test_a_named_tool_is_called_and_only_once_unless_calls_may_be_parallel(house: House) -> None:
    choice = {"type": "function", "function": {"name": "time"}}
    body = house.post(PATH, messages=HI, max_tokens=90, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False).json()
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("time", {"zone": "UTC"})


def test_an_answer_with_calls_can_be_sent_back(house: House) -> None:
    asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 90}
    message = house.post(PATH, messages=HI, **asked).json()["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "12"} for call in message["tool_calls"]]
    answer = house.post(PATH, messages=[*HI, message, *results], max_tokens=3, tools=TOOLS)
    assert answer.status_code == 200, answer.text


def test_no_tool_can_be_called_under_tool_choice_none(house: House, llm: LLM) -> None:
    body = house.post(PATH, messages=HI, max_tokens=1, tools=TOOLS, tool_choice="none", return_token_ids=True).json()
    assert body["prompt_token_ids"] == chat.render(llm.tokenizer, HI).ids  # type: ignore[arg-type]


def test_with_tools_and_a_schema_the_first_id_decides(house: House, llm: LLM) -> None:
    marker = llm.tokenizer.control_id("[TOOL_CALLS]")  # type: ignore[union-attr]
    asked: dict[str, Any] = {"messages": HI, "max_tokens": 90, "tools": TOOLS, "response_format": FORMAT, "seed": 1}
    text = house.post(PATH, **asked, logit_bias={str(marker): -100}).json()["choices"][0]
    assert set(json.loads(text["message"]["content"])) == {"a"}
    assert text["finish_reason"] == "stop"
    called = house.post(PATH, **asked, logit_bias={str(marker): 100}, parallel_tool_calls=False).json()["choices"][0]
    assert called["finish_reason"] == "tool_calls"
    assert called["message"]["tool_calls"]


def test_nothing_is_added_to_a_prompt_unless_it_is_asked_for(house: House, llm: LLM) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    for asked, expected in ((False, messages), (True, guardrail.with_safe_prompt(messages))):
        body = house.post(PATH, messages=messages, max_tokens=1, safe_prompt=asked, return_token_ids=True).json()
        assert body["prompt_token_ids"] == chat.render(llm.tokenizer, expected).ids  # type: ignore[arg-type]
        assert len(body["choices"][0]["token_ids"]) == 1


def test_what_the_template_had_to_change_is_told(house: House) -> None:
    messages = [*HI, *HI]
    whole = house.post(PATH, messages=messages, max_tokens=1).json()
    assert whole["notes"] == ["joined messages 1 and 2, both from the user"]
    first, *others = events(house.post(PATH, messages=messages, max_tokens=1, stream=True).text)
    assert first["notes"] == whole["notes"]
    assert not any("notes" in chunk for chunk in others)


def test_a_seed_says_all_and_random_seed_is_its_other_name(house: House) -> None:
    one, two, other = (
        house.post(PATH, messages=HI, max_tokens=12, **seed).json()["choices"]
        for seed in ({"seed": 5}, {"random_seed": 5}, {"seed": 6})
    )
    assert one == two != other


def test_the_answer_to_a_prefix_goes_on_with_it(house: House) -> None:
    messages = [*HI, {"role": "assistant", "content": "Once upon", "prefix": True}]
    text = house.post(PATH, messages=messages, max_tokens=2, temperature=0).json()["choices"][0]["message"]["content"]
    assert text == " a time"


def test_prompt_logprobs_and_cached_tokens(house: House) -> None:
    messages = [{"role": "user", "content": "one two three four " * 30}]
    body = house.post(PATH, messages=messages, max_tokens=1, prompt_logprobs=1, return_token_ids=True).json()
    ids, told = body["prompt_token_ids"], body["prompt_logprobs"]
    assert told[0] is None
    assert all(str(id) in found for id, found in zip(ids[1:], told[1:], strict=True))
    again = house.post(PATH, messages=messages, max_tokens=1).json()["usage"]
    assert 0 < again["prompt_tokens_details"]["cached_tokens"] < again["prompt_tokens"]


LONG = [{"role": "user", "content": "word " * 2000}]


@pytest.mark.parametrize(
    ("asked", "status", "param", "said"),
    [
        ({"messages": []}, 400, "messages", "at least 1"),
        ({"messages": "hello"}, 400, "messages", "list"),
        ({"messages": [{"role": "robot", "content": "a"}]}, 400, "messages", "robot"),
        ({"messages": LONG}, 400, "messages", "1,024"),
        ({"model": "gpt-4"}, 404, "model", "gpt-4"),
        ({"frobnicate": 1}, 400, "frobnicate", "not supported"),
        ({"store": True}, 400, "store", "False"),
        ({"functions": []}, 400, "functions", "not supported"),
        ({"parallel_tool_calls": False}, 400, "parallel_tool_calls", "no tools"),
        ({"tools": TOOLS, "tool_choice": "any", "response_format": {"type": "json_object"}}, 400, "tool_choice", "leave one out"),
        ({"tools": TOOLS, "tool_choice": "any", "guided_regex": "a"}, 400, "tool_choice", "leave one out"),
        ({"user": "u" * 257}, 400, "user", "256"),
        ({"session_id": "abc"}, 400, "session_id", "keeps no sessions"),
        ({"temperature": "1"}, 400, "temperature", "number"),
        ({"temperature": True}, 400, "temperature", "number"),
        ({"temperature": -1}, 400, "temperature", "0"),
        ({"top_p": 0}, 400, "top_p", "greater than 0"),
        ({"n": 1.5}, 400, "n", "integer"),
        ({"n": 17}, 400, "n", "16"),
        ({"n": 0}, 400, "n", "1"),
        ({"max_tokens": 10**30}, 400, "max_tokens", "2147483647"),
        ({"max_tokens": 0}, 400, "max_tokens", "at least 1"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, 400, "max_tokens", "one field"),
        ({"stop": [f"s{i}" for i in range(5000)]}, 400, "stop", "5,000"),
        ({"stop": ["x" * 2000]}, 400, "stop", "1,024"),
        ({"stop": [""]}, 400, "stop.0", "character"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias", "'x'"),
        ({"logit_bias": {"99999": 1}}, 400, "logit_bias", "8191"),
        ({"logit_bias": {"5": 101}}, 400, "logit_bias.5", "100"),
        ({"top_logprobs": 2}, 400, "top_logprobs", "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs", "20"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "stream"),
        ({"seed": 1, "random_seed": 1}, 400, "random_seed", "one field"),
        ({"min_tokens": 5, "max_tokens": 2}, 400, "min_tokens", "2"),
        ({"response_format": {"type": "xml"}}, 400, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format", "json_schema"),
        ({"response_format": {**FORMAT, "json_schema": {"name": "a", "schema": {"type": "x"}}}}, 400, "response_format", "x"),
        ({"response_format": FORMAT, "guided_regex": "a"}, 400, "structured_outputs", "one grammar"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, 400, "structured_outputs", "exactly one"),
        ({"guided_regex": "("}, 400, None, ""),
        ({"tool_choice": "required"}, 400, "tool_choice", "no tools"),
        ({"tool_choice": "maybe", "tools": TOOLS}, 400, "tool_choice", "auto"),
        ({"tool_choice": {"type": "function", "function": {"name": "nope"}}, "tools": TOOLS}, 400, "tool_choice", "nope"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "tool 1"),
        ({"tools": [tool("a", b={"type": "nonsense"})]}, 400, "tools", "nonsense"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(
    house: House, asked: dict[str, Any], status: int, param: str | None, said: str
) -> None:
    answer = house.post(PATH, **{"messages": HI, **asked})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]
    assert "\n" not in error["message"]
    if param is not None:
        assert error["param"] == param


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe",
     b'{"messages": [{"role": "user", "content": "a"}], "seed": ' + b"9" * 6000 + b"}",
     b'{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
     b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e999}',
     b'{"messages": [{"role": "user", "content": "a"}], "temperature": -Infinity}',
     b'{"messages": [{"role": "user", "content": "a"}], "user": "\\udfff"}',
     b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
     b'{"messages": [{"role": "user", "content": "a"}], "\\udfff": 1}',
     b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"],
)  # fmt: skip
def test_bodies_that_are_no_request(house: House, body: bytes) -> None:
    answer = httpx.post(house.url + PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message
    assert "\n" not in message


def test_the_model_list(house: House) -> None:
    listed = httpx.get(house.url + "/v1/models").json()
    assert [card["id"] for card in listed["data"]] == ["tiny"]
    assert httpx.get(house.url + "/v1/models/tiny").json() == listed["data"][0]
    assert listed["data"][0]["max_model_len"] == 1024
    missing = httpx.get(house.url + "/v1/models/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert httpx.get(house.url + "/v2").status_code == 404
    assert httpx.get(house.url + PATH).status_code == 405


def test_while_the_model_loads_there_is_a_503(house: House) -> None:
    loading = State(house.state.settings, house.state.metrics)
    with serving(loading) as running:
        for answer in (running.post(PATH, messages=HI), running.post("/v1/completions", prompt="a")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
            assert answer.headers["retry-after"]

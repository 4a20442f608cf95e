"""The `openai` package as published, against the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from mistral7b import LLM
from tests.server.running import House
from tests.server.test_chat import FORMAT, HI, TOOLS, closing


@pytest.fixture
def client(house: House) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=house.url + "/v1", api_key="-", max_retries=0) as made:
        yield made


def create(client: openai.OpenAI, **asked: Any) -> Any:
    return client.chat.completions.create(**{"model": "tiny", "messages": HI, "max_tokens": 12, "seed": 1, **asked})


def test_chat(client: openai.OpenAI) -> None:
    answer = create(client, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content and choice.message.role == "assistant" for choice in answer.choices)
    assert answer.usage.completion_tokens <= 24
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0
    assert answer.system_fingerprint.startswith("fp_")


def test_streaming_and_whole_answers_are_equal_logprobs_included(client: openai.OpenAI) -> None:
    whole = create(client, logprobs=True, top_logprobs=2).choices[0]
    text, usage = "", None
    logprobs: list[Any] = []
    reasons: list[str] = []
    for chunk in create(client, logprobs=True, top_logprobs=2, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            logprobs += choice.logprobs.content if choice.logprobs else []
            reasons += [choice.finish_reason] if choice.finish_reason else []
    assert text == whole.message.content
    assert logprobs == whole.logprobs.content
    assert reasons == [whole.finish_reason]
    assert usage is not None
    assert usage.completion_tokens == len(logprobs)
    assert all(len(entry.top_logprobs) == 2 for entry in logprobs)
    assert b"".join(bytes(entry.bytes or []) for entry in logprobs).decode().strip() == text.strip()


def test_tools(client: openai.OpenAI, llm: LLM) -> None:
    asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 300, "logit_bias": closing(llm)}
    message = create(client, **asked).choices[0].message
    assert message.content is None
    for call in message.tool_calls:
        assert call.function.name in ("weather", "time")
        json.loads(call.function.arguments)
    with client.chat.completions.stream(model="tiny", messages=HI, seed=1, **asked) as stream:  # type: ignore[arg-type]
        streamed = stream.until_done().get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in streamed.message.tool_calls or []] == [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls
    ]
    again = [*HI, message, *({"role": "tool", "tool_call_id": call.id, "content": "7"} for call in message.tool_calls)]
    assert create(client, messages=again, tools=TOOLS, max_tokens=3).choices[0].finish_reason


def test_one_forced_tool(client: openai.OpenAI) -> None:
    named = {"type": "function", "function": {"name": "time"}}
    answer = create(client, tools=TOOLS, tool_choice=named, parallel_tool_calls=False, max_tokens=90)
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"zone": "UTC"}


def test_parallel_calls_have_ids_of_their_own(client: openai.OpenAI) -> None:
    calls = create(client, tools=TOOLS, tool_choice="required", max_tokens=120).choices[0].message.tool_calls
    assert len(calls) > 1
    assert len({call.id for call in calls}) == len(calls)


def test_response_format(client: openai.OpenAI) -> None:
    assert json.loads(create(client, response_format=FORMAT).choices[0].message.content)["a"] in range(10)

    class Weather(BaseModel):
        sky: Literal["clear", "cloudy"]
        warm: bool

    parsed = client.chat.completions.parse(model="tiny", messages=HI, response_format=Weather, max_tokens=40)  # type: ignore[arg-type]
    assert isinstance(parsed.choices[0].message.parsed, Weather)


def test_json_object(client: openai.OpenAI) -> None:
    content = create(client, response_format={"type": "json_object"}, max_tokens=40, seed=2).choices[0]
    if content.finish_reason == "stop":
        assert isinstance(json.loads(content.message.content), dict)
    else:
        assert content.message.content.startswith("{")


def test_a_seed_repeats(client: openai.OpenAI) -> None:
    first, second, other = (create(client, seed=seed).choices[0].message.content for seed in (7, 7, 8))
    assert first == second != other


def test_completions(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "Once upon", "max_tokens": 5, "seed": 1, "logprobs": 2}
    whole = client.completions.create(**asked)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True))
    assert streamed == whole.choices[0].text
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.tokens is not None
    assert len(whole.choices[0].logprobs.tokens) == 5


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "mistral7b"


def test_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        create(client, temperature=3)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as bad:
        create(client, extra_body={"frobnicate": 1})
    assert (bad.value.param, bad.value.code) == ("frobnicate", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError) as missing:
        create(client, model="gpt-4")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="messages"):
        create(client, messages=[])
    with pytest.raises(openai.BadRequestError):
        create(client, stream=True, n=100)

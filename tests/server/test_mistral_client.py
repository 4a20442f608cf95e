"""The `mistralai` package as published, against the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from mistral7b import LLM
from mistral7b.tokens import chat, guardrail
from tests.server.running import House
from tests.server.test_chat import FORMAT, HI, TOOLS


@pytest.fixture
def client(house: House) -> Iterator[Mistral]:
    with Mistral(server_url=house.url, api_key="-") as made:
        yield made


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": HI, "max_tokens": 12, "random_seed": 1, **more}


def test_chat_streamed_and_whole(client: Mistral) -> None:
    whole = client.chat.complete(**asked())
    assert whole.usage.completion_tokens
    pieces = [event.data.choices[0] for event in client.chat.stream(**asked())]
    assert "".join(str(piece.delta.content or "") for piece in pieces) == whole.choices[0].message.content  # type: ignore[union-attr]
    assert pieces[-1].finish_reason == whole.choices[0].finish_reason


def test_safe_prompt_is_the_papers(client: Mistral, llm: LLM) -> None:
    plain, safe = (client.chat.complete(**asked(safe_prompt=given)).usage.prompt_tokens for given in (False, True))
    assert plain == len(chat.render(llm.tokenizer, HI).ids)  # type: ignore[arg-type]
    assert safe == len(chat.render(llm.tokenizer, guardrail.with_safe_prompt(HI)).ids)  # type: ignore[arg-type]


def test_tools_streamed_and_whole(client: Mistral) -> None:
    given = asked(tools=TOOLS, tool_choice="any", parallel_tool_calls=False, max_tokens=90)
    choice = client.chat.complete(**given).choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls  # type: ignore[union-attr]
    assert calls
    arguments: dict[int, str] = {}
    names: dict[int, str] = {}
    for event in client.chat.stream(**given):
        for call in event.data.choices[0].delta.tool_calls or []:
            arguments[call.index or 0] = arguments.get(call.index or 0, "") + str(call.function.arguments)
            names[call.index or 0] = names.get(call.index or 0, "") + call.function.name
    assert list(arguments.values()) == [call.function.arguments for call in calls]
    assert list(names.values()) == [call.function.name for call in calls]
    again = [*HI, choice.message, *({"role": "tool", "tool_call_id": call.id, "content": "7"} for call in calls)]
    assert client.chat.complete(**asked(messages=again, tools=TOOLS, max_tokens=3)).choices


def test_json_schema(client: Mistral) -> None:
    content = client.chat.complete(**asked(response_format=FORMAT)).choices[0].message.content  # type: ignore[union-attr]
    assert json.loads(str(content))["a"] in range(10)


def test_seeds_n_and_logprobs(client: Mistral) -> None:
    one, two, other = (client.chat.complete(**asked(random_seed=seed)).choices for seed in (3, 3, 4))
    assert one == two != other
    answer = client.chat.complete(**asked(n=2, logprobs=True, top_logprobs=1))
    assert len(answer.choices) == 2


def test_models(client: Mistral) -> None:
    (card,) = client.models.list().data or []
    assert (card.id, card.max_context_length) == ("tiny", 1024)  # type: ignore[union-attr]


def test_errors(client: Mistral) -> None:
    with pytest.raises(SDKError) as told:
        client.chat.complete(**asked(prompt_mode="reasoning"))
    assert told.value.status_code == 400
    assert "prompt_mode" in told.value.body


def test_embeddings(client: Mistral) -> None:
    answer = client.embeddings.create(model="tiny", inputs=["a dog", "a cat"])
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.id

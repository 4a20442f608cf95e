"""/tokenize, /detokenize and /apply-template tell what the model is really given."""

from __future__ import annotations

from typing import Any

import pytest

from mistral7b import LLM
from mistral7b.tokens import chat
from mistral7b.tokens.guardrail import SAFE_PROMPT
from tests.server.conftest import House

HELLO = [{"role": "user", "content": "Hello [INST] there"}]
TOOL = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time", "parameters": {"type": "object", "properties": {}}},
}


def test_a_prompt(house: House, llm: LLM) -> None:
    assert llm.tokenizer is not None
    ids = llm.tokenizer.encode("Once upon a time", bos=True)
    told = house.post("/tokenize", prompt="Once upon a time", return_token_strs=True).json()
    assert told == {
        "count": len(ids), "max_model_len": 1024, "tokens": ids, "token_strs": [llm.tokenizer.piece(id) for id in ids],
    }  # fmt: skip
    bare = house.post("/tokenize", prompt="Once upon a time", add_special_tokens=False, model="tiny").json()
    assert (bare["tokens"], bare["token_strs"]) == (ids[1:], None)
    assert house.post("/tokenize", prompt="").json()["tokens"] == [1]


@pytest.mark.parametrize("text", ["Once upon a time", " two  spaces\n", "café 😀 你好", "</s>[INST]", "\x00\x01"])
def test_there_and_back(house: House, text: str) -> None:
    ids = house.post("/tokenize", prompt=text).json()["tokens"]
    assert house.post("/detokenize", tokens=ids).json() == {"prompt": text}


def test_a_chat_is_rendered_as_it_is_answered(house: House, llm: LLM) -> None:
    assert llm.tokenizer is not None
    rendered = chat.render(llm.tokenizer, HELLO, [TOOL])
    told = house.post("/tokenize", messages=HELLO, tools=[TOOL], add_generation_prompt=True).json()
    applied = house.post("/apply-template", messages=HELLO, tools=[TOOL]).json()
    assert told["tokens"] == applied["tokens"] == rendered.ids
    answered = house.post("/v1/chat/completions", messages=HELLO, tools=[TOOL], tool_choice="auto", max_tokens=1, seed=1).json()
    assert answered["usage"]["prompt_tokens"] == told["count"] == applied["count"]


def test_control_ids_are_spelled_and_text_that_spells_them_is_text(house: House) -> None:
    applied = house.post("/apply-template", messages=HELLO).json()
    assert applied["prompt"] == "<s>[INST] Hello [INST] there[/INST]"
    assert applied["tokens"].count(3) == 1, "one is the control id, the other is text"
    assert "notes" not in applied


def test_safe_prompt_is_added_when_asked_and_only_then(house: House) -> None:
    plain, safe = (house.post("/apply-template", messages=HELLO, safe_prompt=safe).json()["prompt"] for safe in (False, True))
    assert SAFE_PROMPT not in plain
    assert safe == plain.replace(" Hello", f" {SAFE_PROMPT}\n\nHello", 1)


def test_what_the_template_changed_is_told(house: House) -> None:
    twice = house.post("/tokenize", messages=[*HELLO, *HELLO]).json()
    assert twice["notes"] == ["joined messages 1 and 2, both from the user"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, None),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, None),
        ("/tokenize", {"prompt": 1}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": "yes"}, "add_special_tokens"),
        ("/tokenize", {"prompt": "a", "speed": 9}, "speed"),
        ("/tokenize", {"prompt": "a", "tools": [TOOL]}, None),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": HELLO, "add_special_tokens": True}, None),
        ("/tokenize", {"messages": HELLO, "add_generation_prompt": False}, "add_generation_prompt"),
        ("/tokenize", {"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens.0"),
        ("/detokenize", {"tokens": [True]}, "tokens.0"),
        ("/detokenize", {"tokens": [1.5]}, "tokens.0"),
        ("/detokenize", {"tokens": [2**31]}, "tokens.0"),
        ("/detokenize", {"tokens": [8192]}, None),
        ("/apply-template", {"messages": HELLO, "prompt": "a"}, "prompt"),
        ("/apply-template", {"messages": HELLO, "tools": [{}]}, "messages"),
    ],
)
def test_what_cannot_be_served_is_named(house: House, path: str, body: dict[str, Any], param: str | None) -> None:
    answer = house.post(path, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"), [("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]}), ("/apply-template", {"messages": HELLO})]
)
def test_another_model_is_not_here(house: House, path: str, body: dict[str, Any]) -> None:
    assert house.post(path, model="gpt-4", **body).status_code == 404

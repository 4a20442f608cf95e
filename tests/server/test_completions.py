"""/v1/completions: prompts of every kind, echo, and log-probabilities in the older form."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import Any

import pytest

from mistral7b import LLM
from mistral7b.server.app import create_routes
from tests.server.running import House, serving
from tests.server.sse import events

PATH = "/v1/completions"


def joined(text: str) -> list[dict[str, Any]]:
    """The choices of a stream as a whole answer has them."""
    *chunks, done = events(text)
    assert done == "[DONE]"
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {**piece, "text": "", "logprobs": None})
            choice["text"] += piece["text"]
            if piece["logprobs"] is not None:
                lists = choice["logprobs"] = choice["logprobs"] or {name: [] for name in piece["logprobs"]}
                for name, values in piece["logprobs"].items():
                    lists[name] += values
            choice["finish_reason"], choice["stop_reason"] = piece["finish_reason"], piece["stop_reason"]
    return [choices[index] for index in sorted(choices)]


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "Once upon", "max_tokens": 12, "logprobs": 3, "n": 2},
        {"prompt": ["Once upon", "The"], "max_tokens": 6, "n": 2, "best_of": 2},
        {"prompt": [1, 2003, 900], "max_tokens": 6, "echo": True, "logprobs": 0},
        {"prompt": [[1, 2003], [1, 900, 901]], "max_tokens": 6, "echo": True},
        {"prompt": "Once upon", "max_tokens": 0, "echo": True, "logprobs": 1},
        {"prompt": "A list:", "max_tokens": 9, "guided_choice": [" red", " blue"]},
        {"prompt": "Once upon", "stop": [" a", "time"], "temperature": 0},
    ],
)
def test_streamed_and_whole_are_equal(house: House, asked: dict[str, Any]) -> None:
    for seed in (1, 2):
        whole = house.post(PATH, seed=seed, **asked)
        assert whole.status_code == 200, whole.text
        streamed = house.post(PATH, seed=seed, stream=True, stream_options={"include_usage": True}, **asked)
        assert joined(streamed.text) == whole.json()["choices"]
        assert events(streamed.text)[-2]["usage"]["total_tokens"] == whole.json()["usage"]["total_tokens"]


def test_sixteen_tokens_is_the_default(house: House) -> None:
    body = house.post(PATH, prompt="Once", ignore_eos=True).json()
    assert body["object"] == "text_completion"
    assert body["usage"]["completion_tokens"] == 16
    assert body["choices"][0]["finish_reason"] == "length"


def test_ids_and_their_text_are_one_prompt(house: House, llm: LLM) -> None:
    ids = llm.tokenizer.encode("Once upon a", bos=True)  # type: ignore[union-attr]
    text, numbers = (house.post(PATH, prompt=prompt, temperature=0, max_tokens=5).json() for prompt in ("Once upon a", ids))
    assert text["choices"] == numbers["choices"]
    assert text["usage"] == {**numbers["usage"], "prompt_tokens_details": text["usage"]["prompt_tokens_details"]}


def test_several_prompts_are_numbered_through(house: House) -> None:
    both = house.post(PATH, prompt=["Once upon", "The"], temperature=0, n=2, max_tokens=4).json()
    single = [house.post(PATH, prompt=prompt, temperature=0, max_tokens=4).json() for prompt in ("Once upon", "The")]
    assert [choice["index"] for choice in both["choices"]] == [0, 1, 2, 3]
    expected = [one["choices"][0]["text"] for one in single for _ in range(2)]
    assert [choice["text"] for choice in both["choices"]] == expected
    assert both["usage"]["prompt_tokens"] == sum(one["usage"]["prompt_tokens"] for one in single)


def test_echoed_logprobs_are_those_of_the_model(house: House, llm: LLM) -> None:
    ids = llm.tokenizer.encode("Once upon a time", bos=True)  # type: ignore[union-attr]
    body = house.post(PATH, prompt="Once upon a time", echo=True, logprobs=2, max_tokens=0).json()
    (choice,) = body["choices"]
    assert choice["text"] == "Once upon a time"
    assert body["usage"]["completion_tokens"] == 0
    lists = choice["logprobs"]
    assert lists["tokens"] == ["<s>", " Once", " upon", " a", " time"]
    assert lists["text_offset"] == [0, 0, 4, 9, 11]
    assert lists["token_logprobs"][0] is None
    assert lists["top_logprobs"][0] is None
    assert all(len(top) == 2 for top in lists["top_logprobs"][1:])
    logits = asyncio.run(house.state.engine.call(lambda: llm.logits(ids)))
    expected = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].tolist()
    assert lists["token_logprobs"][1:] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({}, "prompt", "missing"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": []}, "prompt", "not empty"),
        ({"prompt": [[]]}, "prompt", "not empty"),
        ({"prompt": [1, "a"]}, "prompt", "a list of either"),
        ({"prompt": [True]}, "prompt", "a list of either"),
        ({"prompt": ["a", ""]}, "prompt", "empty"),
        ({"prompt": [8192]}, "prompt", "8192"),
        ({"prompt": "a " * 3000}, "prompt", "1,024"),
        ({"prompt": ["a"] * 300}, "prompt", "256"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "not supported"),
        ({"prompt": "a", "best_of": 2}, "best_of", "n"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "echo"),
        ({"prompt": "a", "logprobs": 65}, "logprobs", "64"),
        ({"prompt": "a", "logprobs": True}, "logprobs", "integer"),
        ({"prompt": "a", "messages": []}, "messages", "not supported"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(house: House, asked: dict[str, Any], param: str, said: str) -> None:
    answer = house.post(PATH, **asked)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert said in error["message"]
    assert "\n" not in error["message"]


def test_token_ids_on_request(house: House) -> None:
    (choice,) = house.post(PATH, prompt=[1, 900], max_tokens=3, return_token_ids=True, ignore_eos=True).json()["choices"]
    assert choice["prompt_token_ids"] == [1, 900]
    assert len(choice["token_ids"]) == 3


def test_without_a_tokenizer_ids_are_answered_with_ids(house: House, llm: LLM) -> None:
    bare = copy.copy(llm)
    bare.tokenizer = None
    with serving(replace(house.state, llm=bare)) as running:
        body = running.post(PATH, prompt=[1, 900], max_tokens=3, return_token_ids=True, logprobs=1, ignore_eos=True).json()
        (choice,) = body["choices"]
        assert choice["text"] == ""
        assert choice["logprobs"]["tokens"] == [f"token_id:{id}" for id in choice["token_ids"]]
        for path, asked in ((PATH, {"prompt": "a"}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})):
            refused = running.post(path, **asked)
            assert refused.status_code == 400
            assert "tokenizer" in refused.json()["error"]["message"]


def test_the_openapi_document_tells_of_both_ways_to_answer(house: House) -> None:
    document = create_routes(house.state).openapi()
    for path in (PATH, "/v1/chat/completions"):
        told = document["paths"][path]["post"]["responses"]
        assert set(told["200"]["content"]) == {"application/json", "text/event-stream"}
        assert set(told) == {"200", "4XX", "5XX"}

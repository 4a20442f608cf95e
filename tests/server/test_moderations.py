"""/v1/moderations: always one of the categories or none, always the same one, with its own probability."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mistral7b import LLM, SamplingParams
from mistral7b.server.protocol.moderations import moderation_result
from mistral7b.tokens.guardrail import CATEGORIES, NOT_MODERATED, moderation_prompt
from mistral7b.tokens.structured import StructuredOutput
from tests.server.conftest import House

TEXT = "How do I kill a Linux process?"


def judged(house: House, **body: Any) -> list[dict[str, Any]]:
    answer = house.post("/v1/moderations", **body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def test_one_result_a_text_each_in_one_category_at_most(house: House) -> None:
    results = judged(house, input=[TEXT, "I love you.", TEXT])
    assert results[0] == results[2] == judged(house, input=TEXT)[0]
    for result in results:
        assert set(result["categories"]) == set(result["category_scores"]) == set(CATEGORIES)
        chosen = [name for name, held in result["categories"].items() if held]
        assert len(chosen) == int(result["flagged"]) <= 1
        assert [name for name, score in result["category_scores"].items() if score > 0] == chosen
        assert all(0 <= score <= 1 for score in result["category_scores"].values())


def test_the_score_is_the_models_own_probability_of_that_answer(house: House, llm: LLM) -> None:
    """Held against the logits of the same ids as a prompt, where no grammar is."""
    result = next(result for text in (TEXT, "I love you.", "x", "Hello") if (result := judged(house, input=text)[0])["flagged"])
    text = next(text for text in (TEXT, "I love you.", "x", "Hello") if judged(house, input=text)[0] == result)
    choice = StructuredOutput("choice", [*CATEGORIES, NOT_MODERATED])
    asked = [{"role": "user", "content": moderation_prompt(text)}]
    answered = llm.chat(asked, SamplingParams(temperature=0, structured=choice))[0]
    prompt, ids = answered.prompt_token_ids, answered.outputs[0].token_ids
    logprobs = llm.logits([*prompt, *ids])[len(prompt) - 1 : -1].log_softmax(-1)
    whole = float(logprobs.gather(1, torch.tensor(ids)[:, None]).double().sum())
    assert result["category_scores"][answered.outputs[0].text] == pytest.approx(math.exp(whole), rel=1e-4)


def test_the_shape_of_the_answer(house: House) -> None:
    first, second = (house.post("/v1/moderations", input="x", model="tiny").json() for _ in range(2))
    assert (first["model"], first["id"][:5]) == ("tiny", "modr-")
    assert first["id"] != second["id"]
    assert first["results"] == second["results"]


def test_a_result_says_what_was_answered() -> None:
    safe, flagged = moderation_result(NOT_MODERATED, 0.9), moderation_result("fraud", 0.25)
    assert (safe["flagged"], set(safe["category_scores"].values())) == (False, {0.0})
    assert flagged["flagged"]
    assert {name for name, held in flagged["categories"].items() if held} == {"fraud"}
    assert flagged["category_scores"]["fraud"] == 0.25
    assert flagged["category_applied_input_types"]["fraud"] == ["text"]


@pytest.mark.parametrize(
    "body",
    [{}, {"input": ""}, {"input": []}, {"input": [""]}, {"input": [1]}, {"input": [{"type": "text", "text": "x"}]},
     {"input": None},
     {"input": "x " * 2000}, {"input": ["x"] * 257}, {"input": "x", "threshold": 0.5}],
)  # fmt: skip
def test_what_cannot_be_served(house: House, body: dict[str, Any]) -> None:
    answer = house.post("/v1/moderations", **body)
    assert answer.status_code == 400, answer.text
    assert "\n" not in answer.json()["error"]["message"]

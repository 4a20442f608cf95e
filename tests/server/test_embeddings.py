"""/v1/embeddings: the mean of the normed states, of length 1, the same whoever else is served."""

from __future__ import annotations

import asyncio
import base64
import math
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from mistral7b import LLM
from mistral7b.model.batch import Span, TokenBatch
from tests.server.conftest import House

TEXTS = ["Once upon a time there was a dog.", "Hello", "The dog was happy. " * 40]


def embedded(house: House, **body: Any) -> list[Any]:
    answer = house.post("/v1/embeddings", **body)
    assert answer.status_code == 200, answer.text
    return [one["embedding"] for one in answer.json()["data"]]


def by_hand(llm: LLM, ids: list[int]) -> np.ndarray[Any, Any]:
    """The definition, without engine, cache or chunks."""
    with torch.inference_mode():
        states = llm.model.hidden(TokenBatch.pack([Span(ids, 0, (), "last")])).double()
    mean = states.mean(0)
    return (mean / mean.norm()).numpy()


def test_the_definition(house: House, llm: LLM) -> None:
    assert llm.tokenizer is not None
    for text, vector in zip(TEXTS, embedded(house, input=TEXTS), strict=True):
        assert len(vector) == llm.model.config.dim
        assert math.isclose(np.linalg.norm(vector), 1, rel_tol=1e-5)
        # The cache rounds keys and values to bfloat16, which a forward without one does not.
        assert np.dot(vector, by_hand(llm, llm.tokenizer.encode(text, bos=True))) > 0.999


def test_one_or_several_text_or_ids_float_or_base64_are_the_same_bits(house: House, llm: LLM) -> None:
    assert llm.tokenizer is not None
    ids = [llm.tokenizer.encode(text, bos=True) for text in TEXTS]
    together = embedded(house, input=TEXTS)
    assert [embedded(house, input=text)[0] for text in TEXTS] == together
    assert embedded(house, input=ids) == together
    assert embedded(house, input=ids[1]) == together[1:2]
    packed = embedded(house, input=TEXTS, encoding_format="base64", dimensions=llm.model.config.dim)
    assert [np.frombuffer(base64.b64decode(one), "<f4").tolist() for one in packed] == together


def test_the_same_bits_in_a_crowd(house: House) -> None:
    async def crowd() -> list[list[float]]:
        async with httpx.AsyncClient(base_url=house.url, timeout=60) as client:
            chatter = [client.post("/v1/completions", json={"prompt": "Once", "max_tokens": 12, "seed": i}) for i in range(3)]
            asked = [client.post("/v1/embeddings", json={"input": text}) for text in TEXTS]
            answers = await asyncio.gather(*chatter, *asked)
        return [answer.json()["data"][0]["embedding"] for answer in answers[3:]]

    assert asyncio.run(crowd()) == embedded(house, input=TEXTS)


def test_the_shape_of_the_answer(house: House, llm: LLM) -> None:
    assert llm.tokenizer is not None
    told = house.post("/v1/embeddings", input=TEXTS, model="tiny", user="me", encoding_format="float").json()
    n = sum(len(llm.tokenizer.encode(text, bos=True)) for text in TEXTS)
    assert (told["object"], told["model"], told["usage"]) == ("list", "tiny", {"prompt_tokens": n, "total_tokens": n})
    assert [(one["object"], one["index"]) for one in told["data"]] == [("embedding", 0), ("embedding", 1), ("embedding", 2)]


def test_likeness(house: House) -> None:
    near, same, far = map(
        np.array, embedded(house, input=["The cat sat on the mat.", "A cat sat on a mat.", "def f(x): return {}"])
    )
    assert near @ same > near @ far


def test_a_prompt_as_long_as_the_context_fits(house: House, llm: LLM) -> None:
    assert len(embedded(house, input=[5] * llm.max_model_len)) == 1
    answer = house.post("/v1/embeddings", input=[5] * (llm.max_model_len + 1))
    assert answer.status_code == 400
    assert "1,025" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "input"), ({"input": ""}, "input"), ({"input": []}, "input"), ({"input": [[]]}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 1]}, "input"), ({"input": 1}, "input"), ({"input": None}, "input"), ({"input": {"a": 1}}, "input"),
        ({"input": [1, -1]}, "input"), ({"input": [True]}, "input"), ({"input": [8192]}, "8192"),
        ({"input": ["a"] * 257}, "input"), ({"input": "a", "dimensions": 8}, "dimensions"),
        ({"input": "a", "dimensions": 256.5}, "dimensions"), ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "truncate": True}, "truncate"),
    ],
)  # fmt: skip
def test_what_cannot_be_served(house: House, body: dict[str, Any], names: str) -> None:
    answer = house.post("/v1/embeddings", **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert names in f"{error['param']} {error['message']}"
    assert "\n" not in error["message"]

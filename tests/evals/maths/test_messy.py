"""Fifty outputs each for GSM8K and MATH as models write them, labelled by hand: what each answers, and whether that is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistral7b.evals.maths import gsm8k
from mistral7b.evals.maths.equivalent import equivalent
from mistral7b.evals.maths.extract import extract


def labelled(name: str) -> list[dict[str, Any]]:
    items = [json.loads(line) for line in (Path(__file__).parent / name).read_text().splitlines()]
    assert len(items) == 50
    assert {item["right"] for item in items} == {True, False}
    return items


@pytest.mark.parametrize("item", labelled("messy_gsm8k.jsonl"), ids=str)
def test_gsm8k(item: dict[str, Any]) -> None:
    found = gsm8k.extract(item["text"])
    assert found == item["answer"]
    assert (found == item["gold"]) == item["right"]


@pytest.mark.parametrize("item", labelled("messy_math.jsonl"), ids=str)
def test_math(item: dict[str, Any]) -> None:
    found = extract(item["text"])
    assert found is None if item["answer"] is None else equivalent(found, item["answer"])
    assert equivalent(found, item["gold"]) == item["right"]

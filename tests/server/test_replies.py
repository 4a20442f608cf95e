"""Answers made of events: however the text was cut, the same answer; and log-probabilities by name."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.completion import Completion
from mistral7b.outputs import Logprob
from mistral7b.server.chat_choice import Choice
from mistral7b.server.logprobs import Legacy, Namer, vllm
from mistral7b.server.ticket import Event
from mistral7b.tokens.tokenizer import Tokenizer

CALLS = (
    ' [{"name": "add", "arguments": {"a": 1, "b": "é]"}, "id": "abcdefghi"}, {"arguments": {}, "name": "now", "id": "123456789"}]'
)


@pytest.fixture(scope="module")
def v3() -> Tokenizer:
    return Tokenizer.published("v3")


def choice(prompt: list[int] | None = None, index: int = 0) -> Choice:
    request = SimpleNamespace(prompt=prompt or [1, 2], params=SimpleNamespace(seed=None))
    return Choice(cast("Completion", SimpleNamespace(request=request)), index)


def event(text: str = "", call_text: str = "", finish_reason: str | None = None) -> Event:
    return Event(0, text, call_text, [], None, finish_reason, None)


def folded(deltas: list[dict[str, Any]]) -> tuple[str, list[tuple[str, str, str]]]:
    """Content and calls as a client puts them together."""
    content, calls = "", list[dict[str, str]]()
    for delta in deltas:
        content += delta.get("content", "")
        for part in delta.get("tool_calls", []):
            if "id" in part:
                calls.append({"id": part["id"], "name": "", "arguments": ""})
            calls[part["index"]]["name"] += part["function"]["name"]
            calls[part["index"]]["arguments"] += part["function"]["arguments"]
    return content, [(call["id"], call["name"], call["arguments"]) for call in calls]


@given(cuts=st.lists(st.integers(0, len(CALLS)), max_size=12), end=st.integers(0, len(CALLS)))
def test_however_a_call_is_cut_the_deltas_are_the_message(cuts: list[int], end: int) -> None:
    places = sorted({0, *(cut for cut in cuts if cut < end), end})
    pieces = [CALLS[start:stop] for start, stop in pairwise(places)]
    made, at_once = choice(), choice()
    deltas = [made.take(event(text="So: ")), *(made.take(event(call_text=piece)) for piece in pieces)]
    deltas.append(made.take(event(finish_reason="length")))
    at_once.take(event(text="So: ", call_text=CALLS[:end], finish_reason="length"))
    assert made.message() == at_once.message()
    assert made.finish_reason == at_once.finish_reason == ("tool_calls" if end == len(CALLS) else "length")
    content, calls = folded(deltas)
    assert content == made.message()["content"]
    told = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made.message().get("tool_calls", [])
    ]
    assert calls == told
    # A call that never got a name is not lost: its text is content.
    assert content == ("So: " if calls else "So: " + CALLS[:end])


def test_whole_calls_are_whole_and_their_ids_are_those_of_the_prompt_and_place() -> None:
    made = [choice(), choice(), choice([1, 3]), choice(index=1)]
    for one in made:
        one.take(event(call_text=CALLS, finish_reason="stop"))
    message = made[0].message()
    assert message["content"] is None
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["add", "now"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": "é]"}
    ids = [[call["id"] for call in one.message()["tool_calls"]] for one in made]
    assert ids[0] == ids[1]
    assert len({id for some in ids for id in some}) == 6


def test_names_of_ids(v3: Tokenizer) -> None:
    namer = Namer(v3)
    (hello,) = v3.encode("Hello")
    byte = next(id for id in range(v3.vocab_size) if v3.is_byte(id) and v3.piece_bytes(id) == b"\xe2")
    assert namer.name(hello) == (" Hello", list(b" Hello"))
    assert namer.name(byte) == ("bytes:\\xe2", [0xE2])
    assert namer.name(v3.eos_id) == ("</s>", None)
    assert namer.name(v3.vocab_size) == (f"token_id:{v3.vocab_size}", None)
    assert Namer(None).name(7) == ("token_id:7", None)


def test_the_likeliest_come_in_order_and_infinity_is_a_number() -> None:
    likely = {5: Logprob(-math.inf, 3, "c"), 7: Logprob(-0.1, 1, "a"), 6: Logprob(-2.0, 2, "b")}
    entry = Namer(None).chat(5, likely, 2)
    assert entry["logprob"] == -9999.0
    assert [one["token"] for one in entry["top_logprobs"]] == ["token_id:7", "token_id:6"]
    told = vllm([None, likely])
    assert told is not None
    assert told[0] is None
    assert list(told[1] or {}) == ["7", "6", "5"]
    assert vllm(None) is None


@given(text=st.text(max_size=30), split=st.integers(0, 30))
def test_offsets_are_where_tokens_begin(v3: Tokenizer, text: str, split: int) -> None:
    ids = v3.encode(text, bos=True)
    likely = [{id: Logprob(-1.0, 1, None)} for id in ids]
    legacy = Legacy(v3, [], 1)
    first, second = legacy.take(ids[:split], likely[:split]), legacy.take(ids[split:], likely[split:])
    offsets = first["text_offset"] + second["text_offset"]
    expected = [len(v3.decode(ids[:place])) for place in range(len(ids))]
    assert offsets == sorted(offsets)
    assert [o for o, id in zip(offsets, ids, strict=True) if not v3.is_byte(id)] == [
        e for e, id in zip(expected, ids, strict=True) if not v3.is_byte(id)
    ]

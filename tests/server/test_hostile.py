"""Bodies that mean harm, or make no sense: a 4xx in one line each, and the server answers the next request as ever."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from mistral7b import LLM
from mistral7b.errors import CheckpointError
from mistral7b.server.protocol.chat import ChatRequest
from mistral7b.server.protocol.completions import CompletionRequest
from mistral7b.server.protocol.embeddings import EmbeddingsRequest
from mistral7b.server.protocol.moderations import ModerationsRequest
from mistral7b.server.protocol.tokens import DetokenizeRequest, TokenizeRequest
from tests.server.conftest import House
from tests.server.running import TLS

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
PATHS = (CHAT, TEXT, "/v1/embeddings", "/v1/moderations", "/tokenize", "/detokenize", "/apply-template")
HI = [{"role": "user", "content": "hi"}]
HUGE = "9" * 5000


def put(house: House, path: str, body: bytes, kind: str = "application/json") -> httpx.Response:
    return httpx.post(house.url + path, content=body, headers={"Content-Type": kind}, timeout=60, verify=TLS)


def refused(answer: httpx.Response, *statuses: int) -> str:
    """The one line of a refusal."""
    assert answer.status_code in (statuses or range(400, 500)), answer.text[:300]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    message = error["message"]
    assert isinstance(message, str)
    assert message
    assert "\n" not in message
    assert len(answer.content) < 2000, "an error that sends back what it was sent"
    return message


@pytest.fixture(autouse=True, scope="module")
def _alive_after_all(house: House) -> Any:
    """What was answered before is answered after, word for word."""
    ask = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    before = house.post(TEXT, **ask).json()["choices"]
    yield
    assert house.post(TEXT, **ask).json()["choices"] == before
    assert house.state.worker is not None
    assert (house.state.worker.n_running, house.state.worker.n_waiting) == (0, 0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"}", b"null", b"[]", b"1", b'"x"', b"{'prompt': 'x'}", b'{"prompt": "x",}', b'{"prompt": "x"} {}',
     b"\xff\xfe", b'{"prompt": "\xff", "input": "\xff", "messages": "\xc3("}', b"\x00" * 100, b"NaN", b"Infinity", HUGE.encode(),
     b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"prompt": ' + HUGE.encode() + b"}", b"<xml/>"],
    ids=lambda body: repr(body[:16]),
)  # fmt: skip
def test_what_is_no_request(house: House, path: str, body: bytes) -> None:
    refused(put(house, path, body))


@pytest.mark.parametrize("path", PATHS)
def test_another_kind_of_body(house: House, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png", "x"):
        refused(put(house, path, b"prompt=hello", kind))


FIELDS: list[tuple[str, str]] = [
    (field, value)
    for field, values in {
        "temperature": ("NaN", "Infinity", "-Infinity", "1e999", "-1", '"1"', "true", "[]", "{}", HUGE),
        "top_p": ("NaN", "0", "1.0001", "-0.1", '"a"'),
        "max_tokens": ("-1", "1.5", "1e400", HUGE, '"5"', "true", "NaN", "2147483648"),
        "n": ("0", "-1", "17", "1.5", HUGE, '"1"', "true"),
        "seed": (HUGE, "1.5", '"x"', "18446744073709551616", "true"),
        "stop": ("1", "{}", '[""]', '""', "[1]", "[null]", json.dumps(["x"] * 5000), json.dumps("x" * 2000), '"\\ud800"'),
        "logit_bias": ('{"a": 1}', '{"1": "x"}', '{"-1": 1}', '{"99999999": 1}', '{"1": NaN}', "[1]", '{"1": 1e400}',
                       '{"8192": 1}', json.dumps({HUGE: 1})),
        "presence_penalty": ("3", "-3", "NaN", '"1"'),
        "frequency_penalty": ("2.1", "Infinity"),
        "repetition_penalty": ("0", "-1", "NaN"),
        "min_p": ("-0.1", "1.1", "NaN"),
        "top_k": ("-2", "1.5", HUGE),
        "stop_token_ids": ("[-1]", "[1.5]", '["a"]', f"[{HUGE}]", "[8192]"),
        "stream": ('"yes"', "1", "[]"),
        "stream_options": ("1", '{"include_usage": true}', "{}"),
        "model": ('"gpt-4"', "1", '"../../etc/passwd"', '"\\ud800"', json.dumps("x" * 10_000)),
        "min_tokens": ("-1", "1.5"),
        "priority": ("1.5", HUGE),
        "unheard_of": ("1", "null"),
        "__proto__": ("{}",),
        "\\ud800": ("1",),
    }.items()
    for value in values
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), FIELDS, ids=lambda text: text[:24])
def test_fields_that_make_no_sense(house: House, field: str, value: str) -> None:
    for path, prompt in ((TEXT, '"prompt": "x"'), (CHAT, f'"messages": {json.dumps(HI)}')):
        message = refused(put(house, path, f'{{{prompt}, "{field}": {value}}}'.encode()))
        named = field.replace("\\ud800", "").strip("_")
        assert named in message or "JSON" in message or field == "model", message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TEXT, {"prompt": ""}), (TEXT, {"prompt": []}), (TEXT, {"prompt": [""]}), (TEXT, {"prompt": [[]]}),
        (TEXT, {"prompt": {}}),
        (TEXT, {"prompt": None}), (TEXT, {"prompt": [-1]}), (TEXT, {"prompt": [8192]}), (TEXT, {"prompt": [True]}),
        (TEXT, {"prompt": [1.0]}), (TEXT, {"prompt": ["a", 1]}), (TEXT, {"prompt": [10**30]}), (TEXT, {"prompt": "word " * 3000}),
        (TEXT, {"prompt": [5] * 1025}), (TEXT, {"prompt": ["x"] * 1000}),
        (CHAT, {"messages": []}), (CHAT, {"messages": "hi"}), (CHAT, {"messages": [1]}), (CHAT, {"messages": [{}]}),
        (CHAT, {"messages": [{"role": "user"}]}), (CHAT, {"messages": [{"role": "user", "content": 1}]}),
        (CHAT, {"messages": [{"role": "root", "content": "x"}]}),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 20000}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]}),
        (CHAT, {"messages": [{"role": "tool", "content": "x", "tool_call_id": "a"}]}),
        (CHAT, {"messages": [*HI, {"role": "assistant", "content": "x"}]}),
        (CHAT, {"messages": HI, "tools": [{}]}), (CHAT, {"messages": HI, "tools": "x"}),
        (CHAT, {"messages": HI, "tool_choice": "x"}),
        (CHAT, {"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}}}),
        (CHAT, {"messages": HI, "response_format": {"type": "xml"}}),
        (TEXT, {"prompt": "x", "guided_regex": "(" * 50}), (TEXT, {"prompt": "x", "guided_regex": "(a{1000}){1000}"}),
        (TEXT, {"prompt": "x", "guided_grammar": "start: start start"}), (TEXT, {"prompt": "x", "guided_choice": []}),
        (TEXT, {"prompt": "x", "guided_json": {"$ref": "http://192.0.2.1/schema"}}),
        (TEXT, {"prompt": "x", "guided_json": {"$ref": "file:///etc/passwd"}}),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)  # fmt: skip
def test_requests_that_make_no_sense(house: House, path: str, body: dict[str, Any]) -> None:
    refused(house.post(path, **body))


def test_text_that_no_utf8_can_spell(house: House) -> None:
    for path, body in ((TEXT, '{"prompt": "a\\ud800"}'), (CHAT, '{"messages": [{"role": "user", "content": "\\udfff"}]}'),
                       ("/v1/embeddings", '{"input": "\\ud800"}'), ("/v1/moderations", '{"input": "\\ud800"}'),
                       ("/tokenize", '{"prompt": "\\ud800"}')):  # fmt: skip
        refused(put(house, path, body.encode()))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/%00",
        "/../../etc/passwd",
        "/v1/models/%2e%2e",
        "/docs",
        "/health/",
        "/v1/completions/",
    ],
)
def test_paths_that_lead_nowhere(house: House, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT"):
        refused(httpx.request(method, house.url + path, verify=TLS), 404, 405)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize("path", PATHS)
def test_other_methods(house: House, path: str, method: str) -> None:
    refused(httpx.request(method, house.url + path, content=b'{"prompt": "x"}', verify=TLS), 405)


MANY = 2000
WRONG: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (ChatRequest, {"messages": [1] * MANY}), (ChatRequest, {"messages": HI, "tools": [1] * MANY}),
    (ChatRequest, {"messages": HI, "stop": [1] * MANY}), (ChatRequest, {"messages": HI, "modalities": ["x"] * MANY}),
    (ChatRequest, {"messages": HI, "stop_token_ids": ["x"] * MANY}), (ChatRequest, {"messages": HI, "guided_choice": [1] * MANY}),
    (ChatRequest, {"messages": HI, "structured_outputs": {"choice": [1] * MANY}}),
    (ChatRequest, {"messages": HI, "logit_bias": {f"x{i}": "x" for i in range(MANY)}}),
    (ChatRequest, {"messages": HI, **{f"x{i}": 1 for i in range(MANY)}}),
    (ChatRequest, {"messages": HI, "stream": True, "stream_options": {f"x{i}": 1 for i in range(MANY)}}),
    (CompletionRequest, {"prompt": [None] * MANY}), (CompletionRequest, {"prompt": [[-1] * MANY] * 9}),
    (EmbeddingsRequest, {"input": [None] * MANY}), (ModerationsRequest, {"input": [1] * MANY}),
    (TokenizeRequest, {"messages": [1] * MANY}), (DetokenizeRequest, {"tokens": [-1] * MANY}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), WRONG, ids=lambda value: str(value)[:60])
def test_many_mistakes_cost_no_more_than_one(kind: type[BaseModel], body: dict[str, Any]) -> None:
    """An error noted for each of two million items takes half a minute, and gigabytes."""
    with pytest.raises(ValidationError) as refusal:
        kind.model_validate(body)
    assert refusal.value.error_count() <= 4, "one for each form the field may have"


def test_more_answers_than_any_queue_has_room_for(house: House) -> None:
    """A 429 would have the client come back for ever."""
    message = refused(house.post(TEXT, prompt=["x", "y"], n=16), 400)
    assert "32" in message
    assert "20" in message
    for path in ("/v1/embeddings", "/v1/moderations"):
        refused(house.post(path, input=["x"] * 21), 400)


def test_a_grammar_that_cannot_be_is_told_of_by_its_field(house: House) -> None:
    for name, grammar in (("guided_regex", "("), ("guided_json", {"type": 7}), ("structured_outputs", {"regex": "("})):
        for path, prompt in ((TEXT, {"prompt": "x"}), (CHAT, {"messages": HI})):
            answer = house.post(path, **prompt, **{name: grammar})
            assert refused(answer, 400).startswith(name)
            assert answer.json()["error"]["param"] == name


def test_an_error_of_ours_names_no_file(house: House, llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise CheckpointError("/secret/model.safetensors is damaged")

    monkeypatch.setattr(llm, "prepare", broken)
    answer = house.post(TEXT, prompt="x")
    refused(answer, 500)
    assert "secret" not in answer.text


def test_a_grammar_that_fails_while_it_is_followed_is_the_requests_fault(house: House) -> None:
    """It compiles, and is too complex only once the text has gone some way."""
    body = {"prompt": "x", "guided_regex": "(x{1,90}){1,90}", "min_tokens": 300, "max_tokens": 310, "temperature": 0}
    answer = httpx.post(house.url + TEXT, json=body, timeout=60, verify=TLS)
    assert refused(answer, 400).startswith("structured output: ")
    assert answer.json()["error"]["code"] == "grammar_failed"

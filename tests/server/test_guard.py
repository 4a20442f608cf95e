"""The layers in front of the routes: who may ask, how much, how fast, how deep, and until when."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from mistral7b.server import refusal
from mistral7b.server.body import depth
from mistral7b.server.guard import Drain, protect
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from tests.server.bare import GONE, Answer, ask, asking, echo

KEYS = ("first-key", "second-key")


def door(settings: Settings | None = None, app: ASGIApp = echo, drain: Drain | None = None) -> ASGIApp:
    return protect(app, settings or Settings(), drain=drain or Drain(), metrics=Metrics())


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "_LINGER_S", 0.05)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_each_key_opens(key: str, scheme: str) -> None:
    answer = ask(door(Settings(api_keys=KEYS)), body=[b"hello"], headers={"Authorization": f"{scheme} {key}"})
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer first-ke", "Bearer first-key2", "Bearer FIRST-KEY", "Basic first-key", "first-key",
     "Bearer first-key, Bearer second-key", "Bearer \xe9\xff"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/echo", "/metrics", "/v1/models", "/openapi.json", "/health/", "/nowhere"])
def test_anything_else_stays_out(header: str | None, path: str) -> None:
    answer = ask(door(Settings(api_keys=KEYS)), path, headers={} if header is None else {"Authorization": header})
    assert answer.status == 401
    assert answer.error["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "first-key" not in answer.body.decode()


def test_two_authorization_headers_are_none() -> None:
    async def twice(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [(b"authorization", b"Bearer first-key")] * 2
        await door(Settings(api_keys=KEYS))(scope, receive, send)

    assert ask(twice).status == 401


def test_health_is_open_and_without_keys_everything_is() -> None:
    assert ask(door(Settings(api_keys=KEYS)), "/health", method="GET").status == 200
    assert ask(door(), "/metrics", method="GET").status == 200


def test_every_key_is_compared_in_constant_time_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watching(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watching)
    for token in ("first-key", "second-key", "x", "y" * 5000):
        compared.clear()
        ask(door(Settings(api_keys=KEYS)), headers={"Authorization": f"Bearer {token}"})
        assert compared == [(32, 32)] * 2, token


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL = Settings(max_body_bytes=100, body_timeout_s=0.2, max_body_depth=3)


@pytest.mark.parametrize("n", [0, 1, 99, 100])
def test_a_body_in_pieces_arrives_whole(n: int) -> None:
    body = bytes(65 + i % 26 for i in range(n))
    pieces = [body[at : at + 7] for at in range(0, n, 7)] or [b""]
    assert ask(door(SMALL), body=pieces).body == body


def test_too_large_by_its_own_word_is_refused_before_it_is_read() -> None:
    answer = ask(door(SMALL), body=[GONE], headers={"Content-Length": "101"})
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"
    assert ask(door(SMALL), body=[GONE], headers={"Content-Length": "9" * 5000}).status == 413


def test_too_large_as_it_comes_is_refused_at_the_limit() -> None:
    endless = itertools.repeat(b"x" * 60, 50)
    answer = ask(door(SMALL), body=endless)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert "connection" not in answer.headers, "the rest was taken, so the connection can be used again"


def test_a_client_that_goes_on_sending_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "_LINGER_BYTES", 1000)
    answer = ask(door(SMALL), body=itertools.repeat(b"x" * 60, 50))
    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_body_that_trickles_is_late_however_steady() -> None:
    started = time.perf_counter()
    answer = ask(door(SMALL), body=[part for _ in range(50) for part in (b"x", 0.03)])
    assert (answer.status, answer.error["code"]) == (408, "body_timeout")
    assert answer.headers["connection"] == "close"
    assert time.perf_counter() - started < 1


def test_who_leaves_in_the_middle_gets_no_answer() -> None:
    assert ask(door(SMALL), body=[b"{", GONE]).status == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[[[]]]", 200), (b"[[[[]]]]", 400), (b'{"a": [{"b": [1]}]}', 400), (b'"[[[[[["', 200), (b'["\\"[[[[["]', 200),
     (b'["\\\\", [[[1]]]]', 400), (b"[" * 90, 400), (b"]]]]]]]", 200), (b"[],[],[],[],[]", 200), (b'"unclosed [[[[[[', 200)],
)  # fmt: skip
def test_nesting(body: bytes, status: int) -> None:
    answer = ask(door(SMALL), body=[body])
    assert answer.status == status
    if status == 400:
        assert answer.error["code"] == "body_too_deep"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\a\u00e9'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\'), inner, max_size=3),
    max_leaves=20,
)


@given(json_values, st.booleans())
def test_depth_is_that_of_the_value(value: object, ascii_only: bool) -> None:
    def deep(value: object) -> int:
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(deep, inner), default=0)

    assert depth(json.dumps(value, ensure_ascii=ascii_only).encode()) == deep(value)


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\', b"[]", b"[", b"\\", b'""', b'"a\\"'])
def test_depth_takes_one_pass_whatever_comes(unit: bytes) -> None:
    body = unit * (4 * 2**20 // len(unit))
    started = time.perf_counter()
    depth(body)
    assert time.perf_counter() - started < 2.5


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_has_begun_is_counted_and_what_comes_is_refused() -> None:
    drain, going = Drain(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await going.wait()
        await echo(scope, receive, send)

    async def scene() -> tuple[Answer, Answer, Answer]:
        app = door(app=slow, drain=drain)
        first = asyncio.create_task(asking(app, body=[b"first"]))
        await asyncio.sleep(0.01)
        assert drain.active == 1
        drain.closing = True
        second = await asking(app, body=[b"second"])
        health = asyncio.create_task(asking(app, "/health", method="GET"))
        await asyncio.sleep(0.01)
        assert drain.active == 1, "health is not waited for"
        going.set()
        return await first, second, await health

    first, second, health = asyncio.run(scene())
    assert (first.status, first.body) == (200, b"first")
    assert (second.status, second.error["code"]) == (503, "draining")
    assert (second.headers["retry-after"], second.headers["connection"].lower()) == ("5", "close")
    assert health.status == 200, "whose route tells that the server drains"
    assert drain.active == 0


# ── other origins ────────────────────────────────────────────────────────────────────────────────────────────────────────

PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}


def test_other_origins_are_let_in_by_name_only() -> None:
    app = door(Settings(api_keys=KEYS, allowed_origins=("https://app.example",)))
    preflight = ask(app, method="OPTIONS", headers=PREFLIGHT)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert ask(app, method="OPTIONS", headers=PREFLIGHT | {"Origin": "https://evil.example"}).status == 400
    refused = ask(app, headers={"Origin": "https://app.example"})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")


def test_without_origins_no_page_is_told_anything() -> None:
    answers = [ask(door(), method=method, headers=PREFLIGHT) for method in ("OPTIONS", "POST")]
    assert not any(name.startswith("access-control") for answer in answers for name in answer.headers)


def test_no_header_tells_what_serves() -> None:
    for answer in (ask(door()), ask(door(Settings(api_keys=KEYS)))):
        assert {"server", "x-powered-by"} & set(answer.headers) == set()

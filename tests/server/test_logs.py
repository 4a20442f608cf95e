"""The log: one line of JSON a request, with an id, without keys and without text."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from mistral7b.server import logs
from mistral7b.server.guard import Drain, protect
from mistral7b.server.logs import ID_HEADER, LOGGER, JsonLines, Record, record_of
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from tests.server.bare import ask, echo

SECRET = "sk-very-secret"


class Lines(io.StringIO):
    def read_all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What `configure` sends to stderr; the loggers are afterwards as they were."""
    written = Lines()
    monkeypatch.setattr("sys.stderr", written)
    loggers = [logging.getLogger(name) for name in (LOGGER, "uvicorn.error", "asyncio")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    logs.configure()
    yield written
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def door(settings: Settings | None = None, app: ASGIApp = echo) -> ASGIApp:
    return protect(app, settings or Settings(), drain=Drain(), metrics=Metrics())


async def generating(scope: Scope, receive: Receive, send: Send) -> None:
    """As a route that generates two choices of three tokens."""
    record = record_of(scope)
    record.prompt(7)
    record.user = "u-1"
    record.started()
    for _ in range(3):
        record.token(2)
    record.finished("stop")
    record.finished("length")
    await echo(scope, receive, send)


def test_one_line_a_request(lines: Lines) -> None:
    answer = ask(door(Settings(api_keys=("other", SECRET)), generating), "/v1/completions", [b"Once"],
                 headers={"Authorization": f"Bearer {SECRET}"})  # fmt: skip
    (line,) = lines.read_all()
    assert line.pop("ms") >= line.pop("first_token_ms") >= 0
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info", "event": "request", "request_id": answer.headers[ID_HEADER], "method": "POST", "path": "/v1/completions",
        "status": 200, "prompt_tokens": 7, "completion_tokens": 6, "finish_reasons": ["stop", "length"], "key": 2, "user": "u-1",
    }  # fmt: skip


def test_neither_keys_nor_text_are_written(lines: Lines) -> None:
    for key in (SECRET, "sk-wrong-guess"):
        ask(door(Settings(api_keys=(SECRET,))), body=[b"a private text"], headers={"Authorization": f"Bearer {key}"})
    assert len(lines.read_all()) == 2
    assert not any(word in lines.getvalue() for word in (SECRET, "sk-wrong", "private"))
    assert SECRET not in repr(Settings(api_keys=(SECRET,)))


def test_text_is_written_when_asked(lines: Lines) -> None:
    ask(door(Settings(log_prompts=True)), body=[b"a private ", b"text \xff"])
    assert lines.read_all()[0]["body"] == "a private text \ufffd"


@pytest.mark.parametrize("given", ["req_1", "a" * 64, "0d0e-1:2.3_4"])
def test_a_sane_request_id_is_kept(lines: Lines, given: str) -> None:
    answer = ask(door(), headers={"X-Request-Id": given})
    assert answer.headers[ID_HEADER] == given
    assert lines.read_all()[0]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'a"b', "a\u00e9", "../x"])
def test_any_other_is_replaced(given: str) -> None:
    made = {ask(door(), headers={"X-Request-Id": given}).headers[ID_HEADER] for _ in range(2)}
    assert len(made) == 2
    assert given not in made


def test_refusals_have_an_id_and_a_line(lines: Lines) -> None:
    answer = ask(door(Settings(api_keys=(SECRET,))), headers={"X-Request-Id": "mine"})
    assert (answer.status, answer.headers[ID_HEADER]) == (401, "mine")
    assert [(line["status"], line["request_id"]) for line in lines.read_all()] == [(401, "mine")]


def test_a_path_cannot_forge_a_line(lines: Lines) -> None:
    ask(door(), '/x\n{"event": "request", "status": 200}\x1b[2J\u2028')
    assert lines.getvalue().count("\n") == 1
    assert lines.getvalue().isprintable() or lines.getvalue()[:-1].isprintable()


def test_a_mistake_of_ours_is_a_500_in_one_line_with_its_traceback_in_the_log(lines: Lines) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("secret of the house")

    answer = ask(door(app=broken))
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert "secret" not in answer.body.decode()
    failed, line = lines.read_all()
    assert "ZeroDivisionError: secret of the house" in failed["traceback"]
    assert failed["request_id"] == line["request_id"] == answer.headers[ID_HEADER]
    assert line["status"] == 500


def test_a_mistake_after_the_answer_began_is_logged_too(lines: Lines) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    assert ask(door(app=half)).status == 200
    assert [line["event"] for line in lines.read_all()] == ["a request failed", "request"]


def test_a_route_without_a_log_has_a_record_all_the_same() -> None:
    scope: Scope = {"type": "http"}
    record_of(scope).prompt(3)
    assert record_of(scope).prompt_tokens == 3


def test_a_record_tells_only_what_concerns_it() -> None:
    assert Record("id", "GET", "/health", status=200).to_json(0.0015) == {
        "request_id": "id", "method": "GET", "path": "/health", "status": 200, "ms": 1.5,
    }  # fmt: skip


def test_other_records_become_lines_too() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        made = logging.LogRecord("x", logging.ERROR, "", 0, "went %s", ("wrong",), (ValueError, error, error.__traceback__))
    line = JsonLines().format(made)
    assert "\n" not in line
    assert json.loads(line)["event"] == "went wrong"
    assert "two\nlines" in json.loads(line)["traceback"]

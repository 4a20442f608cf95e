"""The log: one line of JSON a request on stderr. Never an API key; text of prompts only with --log-prompts."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistral7b.server.errors import Internal
from mistral7b.server.metrics import Metrics
from mistral7b.server.refusal import answer

ID_HEADER = "x-request-id"
LOGGER = "mistral7b.server"
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


@dataclass
class Record:
    """What is known of one request, for its log line and the metrics. `RequestLog` makes it; routes that generate fill it in:
    `prompt`, then `token` for each token (or several at once), then `finished` for each choice. Times are seconds."""

    request_id: str
    method: str = ""
    path: str = ""
    arrived: float = field(default_factory=time.perf_counter)
    route: str = "none"
    status: int = 0
    key: int | None = None  # the number of the API key, from 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reasons: list[str] = field(default_factory=list)
    queue_s: float | None = None  # from arrival to the first step
    first_token: float | None = None
    last_token: float | None = None
    user: str | None = None  # whom the client says it asks for
    body: str | None = None  # with --log-prompts

    def prompt(self, tokens: int) -> None:
        """A prompt of `tokens` tokens was taken."""
        self.prompt_tokens += tokens

    def started(self) -> None:
        """The engine has begun; counts once."""
        if self.queue_s is None:
            self.queue_s = time.perf_counter() - self.arrived

    def token(self, count: int = 1) -> None:
        """`count` tokens were generated, just now."""
        if count > 0:
            self.last_token = time.perf_counter()
            self.first_token = self.first_token or self.last_token
            self.completion_tokens += count

    def finished(self, reason: str | None) -> None:
        """One choice has ended."""
        self.finish_reasons.append(reason or "none")

    def to_json(self, took_s: float) -> dict[str, Any]:
        """The log line; what does not concern this request is left out."""
        first = None if self.first_token is None else round(1000 * (self.first_token - self.arrived), 1)
        said = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "ms": round(1000 * took_s, 1),
            "first_token_ms": first,
            "prompt_tokens": self.prompt_tokens or None,
            "completion_tokens": self.completion_tokens or None,
            "finish_reasons": self.finish_reasons or None,
            "key": self.key,
            "user": self.user,
            "body": self.body,
        }
        return {name: value for name, value in said.items() if value is not None}


def record_of(scope: Scope) -> Record:
    """The request's record; one that nobody reads where an application runs without `RequestLog`."""
    record = scope.setdefault("state", {}).setdefault("record", None) or Record(secrets.token_hex(16))
    assert isinstance(record, Record)
    scope["state"]["record"] = record
    return record


class RequestLog:
    """A record, an x-request-id (the client's if it is a sane one), a log line and the metrics for every request.

    Outermost, so that it sees every answer there is. What the application raises is a mistake of ours: it is logged with its
    traceback, and answered with a 500 that tells nothing of it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self.log = logging.getLogger(LOGGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = Record(_request_id(scope), scope["method"], scope["path"])
        scope.setdefault("state", {})["record"] = record

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != ID_HEADER.encode()]
                message = {**message, "headers": [*kept, (ID_HEADER.encode(), record.request_id.encode())]}
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 whatever it is, the server lives on
            self._fail(record, error)
            if not record.status:
                await answer(sending, Internal())
        finally:
            self._finish(scope, record)

    def _fail(self, record: Record, error: Exception) -> None:
        told = {"request_id": record.request_id, "traceback": "".join(traceback.format_exception(error))}
        self.log.error("a request failed", extra={"fields": told})

    def _finish(self, scope: Scope, record: Record) -> None:
        took_s = time.perf_counter() - record.arrived
        record.route = getattr(scope.get("route"), "path", "none")
        method = record.method if record.method in _METHODS else "other"
        self.metrics.requests.labels(record.route, method, str(record.status)).inc()
        if record.completion_tokens:
            self.metrics.observe(
                prompt_tokens=record.prompt_tokens,
                completion_tokens=record.completion_tokens,
                took_s=took_s,
                queue_s=record.queue_s,
                first_token_s=(record.first_token or 0) - record.arrived,
                decode_s=(record.last_token or 0) - (record.first_token or 0),
            )
        self.log.info("request", extra={"fields": record.to_json(took_s)})


def configure(level: int = logging.INFO) -> None:
    """Send this server's log, and uvicorn's errors, to stderr as JSON lines; uvicorn's own access log stays off."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, least in ((LOGGER, level), ("uvicorn.error", logging.ERROR), ("asyncio", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, what, and its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; control characters come out escaped, so that no path can forge a line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _request_id(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == ID_HEADER.encode()]
    return given[0].decode() if len(given) == 1 and _SANE_ID.fullmatch(given[0]) else secrets.token_hex(16)

"""ASGI without a server: one request put to an application by hand, its body in pieces and pauses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

GONE = "gone"  # the client closes the connection
Part = bytes | float | str


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert "\n" not in error["message"]
        return error


def ask(
    app: ASGIApp,
    path: str = "/echo",
    body: Iterable[Part] = (b"",),
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Put a request: a body part is bytes, seconds to wait, or GONE."""
    return asyncio.run(asking(app, path, body, method=method, headers=headers))


async def asking(
    app: ASGIApp,
    path: str = "/echo",
    body: Iterable[Part] = (b"",),
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    parts, sent = list(body), list[Message]()

    async def receive() -> Message:
        while parts:
            part = parts.pop(0)
            if isinstance(part, bytes):
                return {"type": "http.request", "body": part, "more_body": bool(parts)}
            if part == GONE:
                parts.clear()
            else:
                assert isinstance(part, float)
                await asyncio.sleep(part)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": encoded,
        "query_string": b"",
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], given, b"".join(message.get("body", b"") for message in sent[1:]))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it got."""
    message = await receive()
    body = message.get("body", b"")
    assert not message.get("more_body")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})

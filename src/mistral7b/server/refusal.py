"""A request answered before any route sees it, with the error that a route would give."""

from __future__ import annotations

import asyncio
import contextlib
import json

from starlette.types import Receive, Scope, Send

from mistral7b.server.errors import ApiError

CLOSE = {"connection": "close"}
_LINGER_S = 2.0
_LINGER_BYTES = 64 * 2**20


async def refuse(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    """Answer with `error` and nothing else.

    What the client is still sending is taken and thrown away for a moment, so that it comes to reading the answer: a socket
    closed on unread bytes is reset, and the answer lost with it. A client that goes on sending is cut off.
    """
    whole = await _discard(scope, receive)
    await answer(send, error, close=not whole)


async def answer(send: Send, error: ApiError, *, close: bool = False) -> None:
    """Send `error`; `close` the connection after it."""
    body = json.dumps(error.body).encode()
    named = {name.lower(): value for name, value in error.headers.items()} | (CLOSE if close else {})
    headers = {"content-type": "application/json", "content-length": str(len(body)), **named}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def _discard(scope: Scope, receive: Receive) -> bool:
    """Read the rest of the body, within bounds; True if all of it came. A client that waits for 100 Continue has sent nothing."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return False
    taken = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while taken <= _LINGER_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return bool(message["type"] == "http.request")
    return False

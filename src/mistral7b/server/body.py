"""Request bodies read whole before a route sees them, and refused when too large, too slow or nested too deep."""

from __future__ import annotations

import asyncio
import re

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistral7b.server.errors import ApiError
from mistral7b.server.logs import record_of
from mistral7b.server.refusal import answer, refuse
from mistral7b.server.settings import Settings

# A JSON string, or what stands from a quote that nothing closes to the end. Possessive, so that no input takes two passes.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_STEP = np.zeros(256, dtype=np.int8)
_STEP[[ord("["), ord("{")]], _STEP[[ord("]"), ord("}")]] = 1, -1


class BodyLimit:
    """413 for more than `max_body_bytes`, by Content-Length or as they come; 408, and the connection closed, for a body that is
    not here after `body_timeout_s` in all, however steadily it trickles; 400 for JSON deeper than `max_body_depth`, which
    would overflow the stack of a recursive parser."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limits = self.settings
        too_large = f"the body is larger than the {limits.max_body_bytes:,} bytes this server takes; send less"
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            # A proxy before us may go by the other one, and take what we read as a body for a request (RFC 9112, 6.1).
            message = "the request has both Content-Length and Transfer-Encoding; send one of them"
            await answer(send, ApiError(400, message, code="invalid_http"), close=True)
            return
        if _declared(scope) > limits.max_body_bytes:
            await refuse(scope, receive, send, ApiError(413, too_large, code="body_too_large"))
            return
        try:
            async with asyncio.timeout(limits.body_timeout_s):
                body = await _read(receive, limits.max_body_bytes)
        except TimeoutError:
            message = f"the body did not arrive within {limits.body_timeout_s:g} seconds; send it again, faster"
            await answer(send, ApiError(408, message, code="body_timeout"), close=True)
            return
        except _TooLargeError:
            await refuse(scope, receive, send, ApiError(413, too_large, code="body_too_large"))
            return
        if body is None:
            return  # the client is gone, and nobody is left to answer
        if depth(body) > limits.max_body_depth:
            message = f"the body nests more than {limits.max_body_depth} lists and objects; send a flatter one"
            await answer(send, ApiError(400, message, code="body_too_deep"))
            return
        if limits.log_prompts:
            record_of(scope).body = body.decode("utf-8", "replace")
        await self.app(scope, _Replay(body, receive), send)


def depth(body: bytes) -> int:
    """How many lists and objects stand inside one another in JSON, well formed or not; linear in its length."""
    steps = _STEP[np.frombuffer(_STRING.sub(b"", body), dtype=np.uint8)]
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


class _TooLargeError(Exception):
    """More came than may."""


class _Replay:
    """A `receive` that hands out the body once and then what really comes, which is the client going away."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self.receive = receive

    async def __call__(self) -> Message:
        message, self.message = self.message, None
        return message if message is not None else await self.receive()


async def _read(receive: Receive, most: int) -> bytes | None:
    """The whole body; None if the client went away before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


def _declared(scope: Scope) -> int:
    """Content-Length; 0 where none is given, or none that is a number. h11 refuses such, and any of more than 20 digits."""
    lengths = [value[:21] for name, value in scope["headers"] if name == b"content-length" and value.isdigit()]
    return max(map(int, lengths), default=0)

"""Answers over HTTP: whole or as server-sent events, and what a client that goes away leaves behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mistral7b.server.errors import ApiError
from mistral7b.server.ticket import Ticket

T = TypeVar("T")
DONE = "data: [DONE]\n\n"
# For the OpenAPI document: what a request with `stream` gets instead of JSON.
STREAMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


class JsonResponse(Response):
    """JSON in UTF-8, characters as they are; a number that JSON cannot spell is our own mistake."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of `content`."""
        return dumps(content).encode()


class EventStream(StreamingResponse):
    """Server-sent events for one ticket, one chunk each, and [DONE] at the end.

    An error after the stream has begun is an event of its own, `{"error": …}`, which OpenAI's client raises; the stream then
    ends without [DONE], so that nobody takes a broken answer for a whole one. However the stream ends, the ticket is cancelled
    and `ended` called.
    """

    media_type = "text/event-stream"

    def __init__(self, ticket: Ticket, chunks: AsyncIterator[Mapping[str, Any]], ended: Callable[[], None]) -> None:
        # A proxy that gathers the events would undo them.
        super().__init__(_events(chunks), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._ticket = ticket
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.cancel()
            self._ended()


async def unless_gone(request: Request, ticket: Ticket, answer: Awaitable[T]) -> T:
    """`answer`, unless the client goes away first: then, and whenever the answer fails, the ticket is cancelled.

    Raises ApiError 499, which nobody will read, for a client that is gone.
    """
    working, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApiError(499, "the client closed the connection")
    finally:
        ticket.cancel()
        leaving.cancel()
        # Not cut off: it ends with its ticket, or once the session that it is saving is saved.
        await asyncio.gather(working, leaving, return_exceptions=True)


def dumps(content: Any) -> str:
    """Compact JSON text."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(chunks: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            yield f"data: {dumps(chunk)}\n\n"
    except ApiError as error:
        yield f"data: {dumps(error.body)}\n\n"
    else:
        yield DONE

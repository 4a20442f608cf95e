"""One connection, as uvicorn speaks it, with the clocks that uvicorn does not have."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mistral7b.server.errors import ApiError
from mistral7b.server.settings import Settings

_PIECE = 4096  # bytes


class GuardedConnection(H11Protocol):
    """Closes the connection of a client that sends the head of a request too slowly (the clock runs from the connection's, or
    the next request's, first moment and is not set back by a byte now and then), that stops reading its answer, or that is
    one too many. `settings` is set by `guarded`."""

    settings: Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self.connections.discard(self)
            transport.abort()
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        # h11 holds a head that is not yet whole to its limit, but not one that comes in a single read.
        for start in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _PIECE])
        self._watch_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._head_clock)
        _stop(self._write_clock)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it where the connection broke

    def pause_writing(self) -> None:
        super().pause_writing()
        _stop(self._write_clock)
        self._write_clock = self.loop.call_later(self.settings.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _stop(self._write_clock)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 uvicorn's own words
        """What is no HTTP gets one line in the shape of every error, if it can get one at all."""
        self._close_with(400, "this is not HTTP/1.1 that this server takes, or its headers are too long", "invalid_http")

    def _watch_head(self) -> None:
        """Run the clock while the next request's head is not whole, and no other request is being answered."""
        if self.conn.their_state is not h11.IDLE:
            _stop(self._head_clock)
            self._head_clock = None
        elif self._head_clock is None and self.timeout_keep_alive_task is None:
            self._head_clock = self.loop.call_later(self.settings.head_timeout_s, self._head_late)

    def _head_late(self) -> None:
        late = f"the request's headers did not arrive within {self.settings.head_timeout_s:g} seconds"
        self._close_with(408, late, "head_timeout")

    def _close_with(self, status: int, message: str, code: str) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(ApiError(status, message, code=code).body).encode()
            headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def guarded(settings: Settings) -> type[GuardedConnection]:
    """The connections of a server with these settings; uvicorn makes them itself, from a class."""
    return type("Connection", (GuardedConnection,), {"settings": settings})


def _stop(clock: asyncio.TimerHandle | None) -> None:
    if clock is not None:
        clock.cancel()

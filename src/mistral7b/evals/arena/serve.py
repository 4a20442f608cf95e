"""The arena on the loopback, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from mistral7b.errors import RequestError
from mistral7b.evals.arena.app import create_app
from mistral7b.evals.arena.battles import Arena


class ArenaServer(uvicorn.Server):
    """uvicorn's server, which ends quietly on SIGINT and SIGTERM; a second one ends it at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 what a signal handler is given
        self.force_exit, self.should_exit = self.should_exit, True


def server_of(arena: Arena, port: int) -> ArenaServer:
    """A server whose socket listens on `port`."""
    config = uvicorn.Config(
        create_app(arena, port), lifespan="off", log_config=None, access_log=False, ws="none", server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    return ArenaServer(config)


def serve(arena: Arena, port: int, listening: Callable[[str], None]) -> None:
    """Serve on 127.0.0.1 (port 0: any that is free); `listening` is told the page's URL. Raises RequestError for a port taken."""
    try:
        door = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise RequestError(f"port {port} cannot be had ({error.strerror}); choose another --port, or 0 for any") from None
    with door:
        taken = door.getsockname()[1]
        server = server_of(arena, taken)
        listening(f"http://127.0.0.1:{taken}/")
        server.run(sockets=[door])

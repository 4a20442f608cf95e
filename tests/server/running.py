"""A server of one's own: an application under a real uvicorn, on the loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from mistral7b.server.app import create_app
from mistral7b.server.state import State

# Every call of httpx makes a context of its own unless it is given one: 25 ms, some thousand times.
TLS = ssl.create_default_context()


@dataclass
class House:
    """A running server: where it is, and what it is made of."""

    url: str
    port: int
    state: State

    def post(self, path: str, **body: Any) -> httpx.Response:
        """POST a JSON body."""
        return httpx.post(self.url + path, json=body, timeout=60, verify=TLS)


@contextmanager
def serving(state: State) -> Iterator[House]:
    """`state`'s application under a real uvicorn, on a free port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(create_app(state), lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=5)
        )
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
        thread.start()
        try:
            yield House(f"http://127.0.0.1:{port}", port, state)
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            assert not thread.is_alive()

"""The server as it really runs, in a thread of the tests, and a plain socket to it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mistral7b.server.listen import listen
from mistral7b.server.metrics import Metrics
from mistral7b.server.run import Server
from mistral7b.server.settings import Settings
from mistral7b.server.state import State


@dataclass(frozen=True)
class Served:
    """Where it listens, and the server itself."""

    port: int
    server: Server

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A connection that waits five seconds for an answer, at most."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(5)
        client.connect(("127.0.0.1", self.port))
        return client

    def exchange(self, request: bytes) -> bytes:
        """What comes back until the server closes the connection, which it must."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)

    def alive(self) -> bool:
        """Whether an ordinary request is answered."""
        return self.exchange(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@contextmanager
def served(settings: Settings, *, state: State | None = None, context: ssl.SSLContext | None = None) -> Iterator[Served]:
    """A server on a free port, by default one whose model is still loading."""
    with listen("127.0.0.1", 0) as listening:
        server = Server(state or State(settings, Metrics()), context)
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
        thread.start()
        try:
            yield Served(listening.getsockname()[1], server)
        finally:
            server.stop()
            thread.join(10)
            assert not thread.is_alive()


def read_all(client: socket.socket) -> bytes:
    """Everything until the end; a reset is one."""
    got = b""
    try:
        while part := client.recv(65536):
            got += part
    except ConnectionError:
        pass
    return got


def error_of(answer: bytes) -> tuple[int, dict[str, Any]]:
    """Status and error object of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    error: dict[str, Any] = json.loads(body)["error"]
    assert "\n" not in error["message"]
    return int(head.split()[1]), error

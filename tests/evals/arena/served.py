"""The arena as it really runs, in a thread of the tests."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from mistral7b.evals.arena.battles import Arena
from mistral7b.evals.arena.serve import server_of


@dataclass(frozen=True)
class Served:
    """Where it is, and the token that its page knows."""

    url: str
    token: str

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        """As the page does; a header given as "" is left out."""
        sent = {"x-arena-token": self.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(self.url + path, json=body, headers={n: v for n, v in sent.items() if v}, timeout=30)


@contextmanager
def serving(arena: Arena) -> Iterator[Served]:
    """On a free port."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        server = server_of(arena, port)
        thread = threading.Thread(target=lambda: server.run(sockets=[door]), daemon=True)
        thread.start()
        try:
            url = f"http://127.0.0.1:{port}"
            found = re.search(r'name="token" content="([\w-]+)"', httpx.get(url + "/", timeout=30).text)
            assert found is not None
            yield Served(url, found[1])
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()

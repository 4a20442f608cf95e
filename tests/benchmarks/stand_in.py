"""A stand-in for an OpenAI-compatible server: streams words on the loopback, or misbehaves as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StandIn(ThreadingHTTPServer):
    """Answers every request with `max_tokens` words, `pause` seconds before each; `wrong` names what it does instead.

    `seen` holds (path, headers, body) of every POST.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, pause: float = 0.0, usage: bool = True, wrong: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pause, self.usage, self.wrong = pause, usage, wrong
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(server: StandIn) -> Iterator[StandIn]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._json(200, {"data": [{"id": "first"}, {"id": "second"}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        if self.server.wrong == "429":
            self._json(429, {"error": {"message": "the queue\nis full"}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._stream(body)

    def _stream(self, body: dict[str, Any]) -> None:
        chat = self.path.endswith("/chat/completions")
        if chat:
            self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        for _ in range(body["max_tokens"]):
            time.sleep(self.server.pause)
            self._event({"choices": [{"index": 0, "delta": {"content": "word "}} if chat else {"index": 0, "text": "word "}]})
        if self.server.wrong == "error":
            self._event({"error": {"message": "out of\npages"}})
        if self.server.wrong == "garbage":
            self.wfile.write(b"data: [1, 2\n\n")
        if self.server.usage and "stream_options" in body:
            prompt = body["messages"][0]["content"] if chat else body["prompt"]
            count = 3 + 2 * len(prompt.split())
            self._event({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": body["max_tokens"]}})
        if self.server.wrong != "no end":
            self.wfile.write(b": a comment\r\n\r\ndata: [DONE]\r\n\r\n")

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())

    def _json(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what was asked stands in `seen`."""

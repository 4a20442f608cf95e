"""Models that say what a test tells them to: a Chat in process, and a server that speaks the OpenAI API on the loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mistral7b.evals.chats import Ask, Reply

Body = dict[str, Any]
# What the server answers to a request body: a text, or (status, body, headers).
Script = Callable[[Body], str | tuple[int, Any, dict[str, str]]]


class ScriptedChat:
    """Answers with `say(ask)`, in order; `asked` are all it was asked. An exception that `say` raises is raised."""

    def __init__(self, say: Callable[[Ask], str], name: str = "scripted") -> None:
        self.name, self._say = name, say
        self.asked: list[Ask] = []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def replies(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        for number, ask in enumerate(asks):
            self.asked.append(ask)
            yield number, Reply(self._say(ask))

    def stream(self, ask: Ask) -> Generator[str]:
        self.asked.append(ask)
        for word in self._say(ask).split(" "):
            yield word + " "


class OpenAIServer:
    """Where it listens, and what it was asked: `bodies` and `headers`, request by request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self.url = ""


@contextmanager
def openai_server(script: Script) -> Iterator[OpenAIServer]:
    """`script` behind POST /v1/chat/completions, whole or streamed a word at a time."""
    state = OpenAIServer(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with state.lock:
                state.bodies.append(body)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                state.paths.append(self.path)
                said = state.script(body)
            if not isinstance(said, str):
                self._send(*said)
            elif body.get("stream"):
                words = [{"choices": [{"delta": {"content": word}}]} for word in re.findall(r"\S+\s*", said)]
                events = "".join(f"data: {json.dumps(event)}\n\n" for event in [*words, {"choices": []}])
                self._send(200, events + "data: [DONE]\n\n", {"content-type": "text/event-stream"})
            else:
                choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                self._send(200, {"choices": [choice]}, {})

        def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
            raw = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

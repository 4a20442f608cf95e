"""A web server of a few files on the loopback, that can answer ranges and can fail in the ways real ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_BLOCK = 64 << 10


@dataclass
class Web:
    """`files` by path without the first "/"; `asked` is what was, as (path, Range header), `sent` the bytes of each that went."""

    files: dict[str, bytes]
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)  # answered first, one after the other
    cut_at: dict[str, list[int]] = field(default_factory=dict)  # the line drops after so many bytes, once each
    moved: dict[str, str] = field(default_factory=dict)  # redirects
    lengths: dict[str, str] = field(default_factory=dict)  # Content-Length other than the right one
    tags: dict[str, str] = field(default_factory=dict)  # ETags other than the usual one
    hold_after: int | None = None  # bytes of a file after which the server waits for `go`
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    sized: bool = True  # whether the length of an answer is stated; else its end is that of the line

    def fetched(self) -> list[str]:
        return [path for path, _ in self.asked]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Web]:
    web = Web(files)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"web": web})) as server:
        server.daemon_threads = True
        web.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            web.go.set()
            server.shutdown()
            thread.join()


def files_of(folder: Path, under: str = "") -> dict[str, bytes]:
    return {f"{under}{path.relative_to(folder)}": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def send_header(self, keyword: str, value: str) -> None:
        unsized = keyword == "Content-Length" and not self.web.sized
        super().send_header(*(("Connection", "close") if unsized else (keyword, value)))

    def do_GET(self) -> None:
        path, wanted, web = self.path.removeprefix("/"), self.headers.get("Range"), self.web
        web.asked.append((path, wanted))
        if path in web.moved:
            self._begin(302, 0, Location=web.moved[path])
        elif web.status.get(path):
            self._begin(web.status[path].pop(0), 0)
        elif path not in web.files:
            self._begin(404, 0)
        else:
            self._send(path, web.files[path], wanted)

    def _send(self, path: str, data: bytes, wanted: str | None) -> None:
        web, tag = self.web, self.web.tags.get(path, '"one"')
        start, end = 0, len(data)
        if wanted and web.ranges and self.headers.get("If-Range", tag) == tag:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1 if last else len(data)
        if start >= len(data) and start:
            self._begin(416, 0)
            return
        part = end - start < len(data)
        ranged = {"Content_Range": f"bytes {start}-{end - 1}/{len(data)}"} if part else {}
        self._begin(206 if part else 200, end - start, ETag=tag, **ranged)
        cuts = web.cut_at.get(path)
        cut = cuts.pop(0) if cuts else len(data)
        for at in range(start, end, _BLOCK):
            block = data[at : min(at + _BLOCK, end, cut)]
            if web.hold_after is not None and at >= web.hold_after:
                web.held.set()
                web.go.wait(60)
            try:
                self.wfile.write(block)
            except OSError:
                return
            web.sent[path] = web.sent.get(path, 0) + len(block)
            if at + _BLOCK >= cut:
                break
        if cut < len(data):
            self.close_connection = True

    def _begin(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", self.web.lengths.get(self.path.removeprefix("/"), str(length)))
        self.end_headers()

"""A hub of one repository on the loopback: what huggingface_hub and its resumable GET need, and the faults of real ones."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c170c708c41dac9275d15a8fff4eca08d52bab71"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class FakeHub:
    """`files` by name; `requests` what was asked for, as (name, Range header). Knobs spoil the answers."""

    repo: str
    files: dict[str, bytes]
    endpoint: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    status: int = 200  # of every answer
    error_code: str = ""  # X-Error-Code
    file_status: int = 200  # of file downloads only
    stated: dict[str, str] = field(default_factory=dict)  # sha256 other than the true one
    served: dict[str, bytes] = field(default_factory=dict)  # bytes other than the true ones
    cut_at: dict[str, int] = field(default_factory=dict)  # drop the line once after so many bytes
    rejects_after_cut: bool = False
    ignores_ranges: bool = False

    def info(self) -> dict[str, Any]:
        siblings = []
        for name, data in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if name.endswith((".safetensors", ".bin", ".gguf")) or name.startswith("tokenizer.model"):
                entry["lfs"] = {"size": len(data), "sha256": self.stated.get(name, sha256(data)), "pointerSize": 134}
            siblings.append(entry)
        return {"id": self.repo, "sha": COMMIT, "siblings": siblings}


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Runs `hub` until the block ends, and fills in its endpoint."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub})) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub  # of the subclass that `serving` makes

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if self.hub.status != 200:
            self._send(self.hub.status, b"{}", {"X-Error-Code": self.hub.error_code})
        elif path.startswith("/api/models/"):
            self._info(*path.removeprefix("/api/models/").split("/revision/"))
        else:
            self._file(path.removeprefix(f"/{self.hub.repo}/resolve/{COMMIT}/"))

    def _info(self, repo: str, revision: str = "main") -> None:
        if repo != self.hub.repo:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._send(200, json.dumps(self.hub.info()).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> None:
        wanted = self.headers.get("Range")
        self.hub.requests.append((name, wanted))
        if self.hub.file_status != 200:
            self._send(self.hub.file_status, b"", {"X-Error-Code": self.hub.error_code})
            return
        data = self.hub.served.get(name, self.hub.files[name])
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not self.hub.ignores_ranges else 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        cut = self.hub.cut_at.pop(name, None)
        if cut is not None and self.hub.rejects_after_cut:
            self.hub.file_status = 403
        self._send(206 if start else 200, data[start:], headers, cut=cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

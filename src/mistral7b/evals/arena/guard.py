"""Who may use the page: a browser of this machine that was shown it, and no other site that the browser has open."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-arena-token"
_MOST_BYTES = 128 * 1024  # of a body
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """`app` for those who call it by one of `hosts` ("127.0.0.1:8080"), which shuts out names that another site has pointed
    here. What changes something also needs `token`, which only the page itself knows, and an origin of these hosts if it
    names one; a body must say its length. 403, 411 and 413 for the others."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self.app, self._hosts, self._token = app, hosts, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((name.encode(), value.encode()) for name, value in _HEADERS.items())]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if (refused := self._refusal(scope["method"], headers)) is None:
            await self.app(scope, receive, guarded)
            return
        status, why = refused
        body = json.dumps({"error": why}).encode()
        lines = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await guarded({"type": "http.response.start", "status": status, "headers": lines})
        await guarded({"type": "http.response.body", "body": body})

    def _refusal(self, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        if headers.get("host", "").lower() not in self._hosts:
            return 403, "this page is for the machine it runs on, by its own address"
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self._hosts}:
            return 403, "another site asks"
        if not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode("latin-1"), self._token):
            return 403, "the page is of an earlier start; load it again"
        length = headers.get("content-length", "")
        if not length.isdecimal() or "transfer-encoding" in headers:
            return 411, "say the length of the body"
        return (413, f"at most {_MOST_BYTES:,} bytes") if int(length) > _MOST_BYTES else None


def hosts_of(port: int) -> frozenset[str]:
    """How this machine is called by itself; browsers leave out port 80."""
    names = ("127.0.0.1", "localhost")
    return frozenset([*(f"{name}:{port}" for name in names), *(names if port == 80 else ())])

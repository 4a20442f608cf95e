"""The layers between the port and the routes, as plain ASGI: `protect` puts them on, outermost first.

    RequestLog (logs.py)   a request id, one line in the log, the metrics; what the application raises becomes a 500
    Draining               503 for what comes while the server closes down
    CORSMiddleware         only with allowed_origins
    ApiKeys                401 for whoever has none of the keys
    BodyLimit (body.py)    413, 408 and 400 for bodies too large, too slow or nested too deep

Routes therefore see whole, bounded bodies of clients who may ask.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from mistral7b.server import errors
from mistral7b.server.body import BodyLimit
from mistral7b.server.logs import ID_HEADER, RequestLog, record_of
from mistral7b.server.metrics import Metrics
from mistral7b.server.refusal import refuse
from mistral7b.server.settings import Settings

# Answered without a key: load balancers have none, and it tells only whether the server is up.
_OPEN = frozenset({"/health"})
# Answered while the server closes down, and not waited for.
_ALWAYS = frozenset({"/health", "/metrics"})


@dataclass
class Drain:
    """Whether the server is closing down, and how many requests it is still answering. Used on the event loop's thread."""

    closing: bool = False
    active: int = 0


def protect(app: ASGIApp, settings: Settings, *, drain: Drain, metrics: Metrics) -> ASGIApp:
    """`app` behind every layer that `settings` ask for."""
    app = BodyLimit(app, settings)
    if settings.api_keys:
        app = ApiKeys(app, settings.api_keys)
    if settings.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[ID_HEADER, "retry-after"],
        )
    return RequestLog(Draining(app, drain), metrics)


class Draining:
    """While `drain` is closing, 503 for new requests; those that came before are counted until they are answered."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _ALWAYS:
            await self.app(scope, receive, send)
        elif self.drain.closing:
            await refuse(scope, receive, send, errors.Draining())
        else:
            self.drain.active += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.drain.active -= 1


class ApiKeys:
    """401 unless the request carries `Authorization: Bearer KEY` with one of `keys`; /health is open.

    Only digests are kept and compared, every one of them each time: neither the length of a key, nor how much of it was right,
    nor which one it was can be told from how long the answer took.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self.app = app
        self._digests = [sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self.app(scope, receive, send)
            return
        token = self._token(scope)
        found = self._find(token or b"")
        if found is None:
            message = "send one of this server's API keys as Authorization: Bearer KEY"
            message = f"the API key is not one of this server's; {message}" if token else f"no API key was given; {message}"
            challenge = {"www-authenticate": "Bearer"}
            await refuse(scope, receive, send, errors.ApiError(401, message, code="invalid_api_key", headers=challenge))
            return
        record_of(scope).key = found
        await self.app(scope, receive, send)

    def _find(self, token: bytes) -> int | None:
        """The number of the key, from 1."""
        digest, found = sha256(token).digest(), None
        for number, known in enumerate(self._digests, start=1):
            if hmac.compare_digest(digest, known):
                found = number
        return found

    @staticmethod
    def _token(scope: Scope) -> bytes | None:
        """What stands after Bearer; None without exactly one such header."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return None
        kind, _, token = given[0].partition(b" ")
        return token.strip() if kind.lower() == b"bearer" else None

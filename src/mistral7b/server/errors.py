"""Every error body is `{"error": {"message", "type", "param", "code"}}`, its message one line, as OpenAI's clients read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from mistral7b.errors import ChatError, Mistral7BError, RequestError, TokenizerError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_LONGEST = 500  # characters of a message: it may quote what was sent


class ApiError(Exception):
    """An answer that is an error. `param` names the field that caused it, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = _one_line(message)
        self.type = type or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        self.param = None if param is None else _one_line(param)
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """What the client reads."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The answer as a whole."""
        return JSONResponse(self.body, self.status, self.headers)


class BadField(ApiError):
    """A field of the request that cannot be served; 400."""

    def __init__(self, param: str, message: str, *, code: str | None = None) -> None:
        super().__init__(400, message, param=param, code=code)


class Loading(ApiError):
    """The model is not there yet; 503."""

    def __init__(self) -> None:
        super().__init__(503, "the model is still loading; try again shortly", code="loading", headers={"Retry-After": "2"})


class Draining(ApiError):
    """The server finishes what it has begun and takes nothing new; 503."""

    def __init__(self) -> None:
        message = "the server is shutting down and takes no new requests"
        super().__init__(503, message, code="draining", headers={"Retry-After": "5", "Connection": "close"})


class QueueFull(ApiError):
    """As many requests wait as may; 429."""

    def __init__(self, waiting: int) -> None:
        message = f"{waiting} requests are already waiting; try again shortly"
        super().__init__(429, message, code="queue_full", headers={"Retry-After": "1"})


class TooMany(ApiError):
    """More than this server could ever take at once, however long the client waited; 400."""

    def __init__(self, count: int, most: int) -> None:
        message = f"the request asks for {count:,} answers, and this server takes at most {most:,} at once; send several requests"
        super().__init__(400, message, code="too_many_answers")


class TimedOut(ApiError):
    """A request's deadline; 408, told not to be sent again by itself: it would only take as long once more."""

    def __init__(self) -> None:
        message = "the answer took longer than this server allows; ask for fewer tokens"
        super().__init__(408, message, type="timeout_error", code="timeout", headers={"x-should-retry": "false"})


class Internal(ApiError):
    """Our own mistake, or weights that give no numbers; 500. What went wrong is in the server's log, not in the answer."""

    def __init__(self, message: str = "the server failed to answer this request; its log tells why") -> None:
        super().__init__(500, message, code="internal_error")


def from_house(error: Mistral7BError) -> ApiError:
    """A user error of the house as an answer: what was wrong with the request is a 400; anything else is ours, and may name
    files of this machine, which are for the log."""
    if isinstance(error, RequestError | ChatError | TokenizerError):
        return ApiError(400, str(error), param="messages" if isinstance(error, ChatError) else None)
    return Internal()


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return line.encode("utf-8", "backslashreplace").decode()  # it may quote a lone surrogate, which no JSON text can carry

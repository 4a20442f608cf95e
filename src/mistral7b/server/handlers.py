"""Every exception of a route becomes an answer of the one form that errors.py has."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from mistral7b.errors import Mistral7BError
from mistral7b.server.errors import ApiError, BadField, Internal, from_house

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[a-z_]+|[0-9]+")


class ErrorDetail(BaseModel):
    """What went wrong, in one line; the field that caused it; a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


# For the OpenAPI document.
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


def install(app: FastAPI) -> None:
    """Make every error of `app` an answer in the one form."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response

    async def house(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Mistral7BError)
        answer = from_house(error)
        if answer.status >= 500:
            _log.error("a request failed: %s", error)
        return answer.response

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _from_validation(error).response

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _from_http(request, error).response

    async def bug(_: Request, __: Exception) -> JSONResponse:
        return Internal().response  # the traceback goes to the server's log, where starlette sends it

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(Mistral7BError, house)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)


def _from_validation(error: RequestValidationError) -> ApiError:
    """What pydantic found wrong with the first field, in our words."""
    errors = error.errors()
    # Of the alternatives a field has, the one that went furthest is the one that was meant.
    found = max((one for one in errors if one["loc"][:2] == errors[0]["loc"][:2]), key=lambda one: len(one["loc"]))
    name = _field(found["loc"])
    kind = found["type"]
    if kind == "json_invalid":
        return ApiError(400, "the body is not valid JSON")
    if name is None:
        told = {"missing": "the body is missing", "value_error": found["msg"].removeprefix("Value error, ")}
        return ApiError(400, told.get(kind, "the body must be a JSON object sent as application/json"))
    if kind == "extra_forbidden":
        return BadField(name, f"{name} is not supported by this server; leave it out", code="unsupported_parameter")
    if kind == "missing":
        return BadField(name, f"{name} is missing", code="missing_required_parameter")
    told = found["msg"].removeprefix("Value error, ")
    return BadField(name, f"{name}: {told[:1].lower()}{told[1:]}", code="invalid_value")


def _field(place: Sequence[int | str]) -> str | None:
    """The field's path as a client wrote it, without the names that pydantic gives to alternatives; None for the body."""
    path = [str(part) for part in place if part != "body"]
    kept = path[:1] + [part for part in path[1:] if _KEY.fullmatch(part) and part not in ("str", "int")]
    return ".".join(kept) or None


def _from_http(request: Request, error: HTTPException) -> ApiError:
    """What the router or the parser of bodies refused."""
    if error.status_code == 404:
        return ApiError(404, f"there is no {request.url.path} here", headers=error.headers)
    if error.status_code == 405:
        return ApiError(405, f"{request.url.path} does not take {request.method}", headers=error.headers)
    if error.status_code == 400:
        return ApiError(400, "the body is not valid JSON", headers=error.headers)
    return ApiError(error.status_code, str(error.detail), headers=error.headers)

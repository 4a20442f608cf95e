"""The page and what it calls. It is told which model is which only in the answer to the vote."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Generator
from importlib.resources import files
from typing import Literal

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from mistral7b.errors import Mistral7BError
from mistral7b.evals.arena.battles import Arena, BattleError
from mistral7b.evals.arena.guard import Guard, hosts_of

_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Question(BaseModel):
    """What both models are asked."""

    model_config = ConfigDict(extra="forbid")
    prompt: str


class Ballot(BaseModel):
    """What the reader thinks of the answers."""

    model_config = ConfigDict(extra="forbid")
    vote: Literal["left", "right", "tie", "both bad"]


def create_app(arena: Arena, port: int, token: str | None = None) -> ASGIApp:
    """The application, for a server that listens on `port` of the loopback. `token` is what the page proves itself with."""
    token = token or secrets.token_urlsafe(24)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    source = (files("mistral7b.evals.arena") / "page.html").read_text(encoding="utf-8")

    @app.exception_handler(BattleError)
    def not_now(request: Request, error: BattleError) -> JSONResponse:  # noqa: ARG001 the signature of a handler
        return JSONResponse({"error": str(error)}, status_code=409)

    @app.get("/")
    def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        filled = source.replace("{{nonce}}", nonce).replace("{{token}}", token)
        return HTMLResponse(filled, headers={"content-security-policy": _POLICY.format(nonce=nonce)})

    @app.post("/battles")
    def begin(question: Question) -> dict[str, str]:
        return {"battle": arena.begin(question.prompt).id}

    @app.post("/battles/{battle}/turns")
    def go_on(battle: str, question: Question) -> dict[str, str]:
        arena.go_on(battle, question.prompt)
        return {"battle": battle}

    @app.post("/battles/{battle}/answers/{side}")
    def answer(battle: str, side: Literal["left", "right"]) -> Events:
        return Events(_events(arena.answer(battle, side), side), media_type="application/x-ndjson")

    @app.post("/battles/{battle}/vote")
    def vote(battle: str, ballot: Ballot) -> dict[str, str | int]:
        models = arena.cast(battle, ballot.vote).models
        return {"left": models["left"].name, "right": models["right"].name, "votes": len(arena.votes.records)}

    return Guard(app, hosts_of(port), token)


class Events(StreamingResponse):
    """Ends what it streams when the reader has left; else that is busy until the garbage collector comes by."""

    def __init__(self, pieces: Generator[str], *, media_type: str) -> None:
        super().__init__(pieces, media_type=media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()


def _events(pieces: Generator[str], side: str) -> Generator[str]:
    """A line of JSON a piece, the last one {"done": true}, or {"error": true}: what went wrong may name the model, so it is told
    on the terminal only."""
    try:
        for piece in pieces:
            yield json.dumps({"text": piece}) + "\n"
        yield json.dumps({"done": True}) + "\n"
    except Mistral7BError as error:
        print(f"the {side} side could not answer: {error}", file=sys.stderr, flush=True)  # noqa: T201 see above
        yield json.dumps({"error": True}) + "\n"
    finally:
        pieces.close()

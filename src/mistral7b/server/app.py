"""The application: routes, errors and the layers in front of them."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from mistral7b import __version__
from mistral7b.server import handlers
from mistral7b.server.guard import protect
from mistral7b.server.routes import chat, completions, embeddings, health, models, moderations, tokens
from mistral7b.server.state import State


def create_routes(state: State) -> FastAPI:
    """The routes alone, without keys, limits and logs; `/openapi.json` describes them."""
    # Without redirects of /health/ to /health: they would name whatever host the client said it asked.
    app = FastAPI(
        title="mistral7b", version=__version__, docs_url=None, redoc_url=None, responses=handlers.RESPONSES,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.house = state
    handlers.install(app)
    for room in (chat, completions, models, embeddings, moderations, tokens, health):
        app.include_router(room.router)
    return app


def create_app(state: State) -> ASGIApp:
    """The server as a client meets it: the routes behind every layer that the settings ask for."""
    return protect(create_routes(state), state.settings, drain=state.drain, metrics=state.metrics)

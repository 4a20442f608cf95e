"""/health, /ping, /version and /metrics: what operators and load balancers ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from mistral7b import __version__
from mistral7b.server.state import State, house

router = APIRouter(tags=["operations"])
_RETRY = {"Retry-After": "2"}


@router.get("/health")
async def health(state: Annotated[State, Depends(house)]) -> JSONResponse:
    """200 {"status": "ok"} while requests are taken; 503 with "loading" before that, "draining" after it, and "stopped" should
    the engine's thread ever end: whoever watches should then start the server anew."""
    if state.drain.closing:
        return JSONResponse({"status": "draining"}, 503, _RETRY)
    if not state.ready:
        return JSONResponse({"status": "loading"}, 503, _RETRY)
    if not state.engine.alive:
        return JSONResponse({"status": "stopped"}, 503, _RETRY)
    return JSONResponse({"status": "ok"})


@router.get("/ping")
async def ping(state: Annotated[State, Depends(house)]) -> JSONResponse:
    """The same as /health, under the name that some platforms ask for."""
    return await health(state)


@router.get("/version")
async def version() -> dict[str, str]:
    """The version of this package."""
    return {"version": __version__}


@router.get("/metrics", response_class=Response)
async def metrics(state: Annotated[State, Depends(house)]) -> Response:
    """Prometheus text. Reads counters; never waits for the engine's thread."""
    return Response(state.metrics.render(), media_type=CONTENT_TYPE_LATEST)

"""GET /v1/models and GET /v1/models/{name}."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from mistral7b.server.protocol.models import model_card
from mistral7b.server.state import State, house
from mistral7b.server.streams import JsonResponse

router = APIRouter(prefix="/v1/models")


@router.get("", response_class=JsonResponse)
def list_models(state: Annotated[State, Depends(house)]) -> JsonResponse:
    """The model under every name it is served by, and its adapters."""
    return JsonResponse({"object": "list", "data": [_card(state, name) for name in state.settings.names]})


@router.get("/{name:path}", response_class=JsonResponse)
def one_model(name: str, state: Annotated[State, Depends(house)]) -> JsonResponse:
    """One of those names; 404 for any other."""
    return JsonResponse(_card(state, state.served(name)))


def _card(state: State, name: str) -> dict[str, Any]:
    llm = state.model
    return model_card(
        name,
        root=state.settings.model.public_name,
        created=state.created,
        max_model_len=llm.max_model_len,
        chat=llm.tokenizer is not None,
        tools=llm.tokenizer is not None and llm.tokenizer.version != "v1",
    )

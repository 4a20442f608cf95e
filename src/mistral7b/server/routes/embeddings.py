"""/v1/embeddings.

Pooling: the mean of the final normed states over all tokens of the input, the BOS that a text begins with included, scaled to
length 1. Mistral 7B was not trained for embeddings and attends backwards only: good enough to rank texts of one kind by
likeness, not a rival of models that were. Equal inputs have equal embeddings, bit for bit, whoever else is being served.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request
from numpy.typing import NDArray

from mistral7b.api import LLM
from mistral7b.completion import Completion
from mistral7b.server.errors import Internal
from mistral7b.server.logs import record_of
from mistral7b.server.protocol.embeddings import EmbeddingsRequest, embeddings_response
from mistral7b.server.routes.tokens import tokenizer_of
from mistral7b.server.state import State, house
from mistral7b.server.streams import JsonResponse, unless_gone
from mistral7b.server.ticket import Ticket

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"])


@router.post("", response_class=JsonResponse)
async def embed(asked: EmbeddingsRequest, state: Annotated[State, Depends(house)], request: Request) -> JsonResponse:
    """One vector an input. `encoding_format` base64 carries the same float32 numbers in a third of the bytes."""
    name, llm = state.served(asked.model), state.model
    inputs = asked.inputs(dim=llm.model.config.dim, most=state.settings.max_inputs)
    state.engine.check(len(inputs))
    # Beside the loop: long texts take a while to encode.
    completions = await asyncio.to_thread(
        lambda: [Completion(llm.embed_request(_ids(state, one), adapter=state.adapter(name)), llm.tokenizer) for one in inputs]
    )
    n_tokens = sum(len(completion.request.prompt) for completion in completions)
    record = record_of(request.scope)
    record.user = asked.user
    record.prompt(n_tokens)
    ticket = state.engine.submit(completions, deadline=state.deadline)
    await unless_gone(request, ticket, _done(ticket))
    vectors = [_mean(llm, completion) for completion in completions]
    return JsonResponse(embeddings_response(name, vectors, asked.encoding_format or "float", n_tokens))


def _ids(state: State, given: str | list[int]) -> list[int]:
    return tokenizer_of(state).encode(given, bos=True) if isinstance(given, str) else given


async def _done(ticket: Ticket) -> None:
    async for _ in ticket:
        pass


def _mean(llm: LLM, completion: Completion) -> NDArray[np.float32]:
    """The mean direction `[dim]`, of length 1. Raises Internal where the network gave no numbers."""
    pooled = completion.request.pooled
    assert pooled is not None
    states = pooled.double().cpu().numpy() / len(completion.request.prompt)
    if not np.isfinite(states).all():
        raise Internal(f"the model gives numbers that are not finite in {str(llm.model.dtype).removeprefix('torch.')}")
    vector: NDArray[np.float32] = (states / max(float(np.linalg.norm(states)), 1e-12)).astype(np.float32)
    return vector

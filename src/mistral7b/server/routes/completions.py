"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from mistral7b.api import LLM
from mistral7b.completion import Completion
from mistral7b.errors import RequestError, TokenizerError
from mistral7b.server.completion_reply import CompletionReply
from mistral7b.server.envelope import Envelope
from mistral7b.server.errors import BadField
from mistral7b.server.following import answer
from mistral7b.server.protocol.completions import CompletionRequest
from mistral7b.server.settings import Settings
from mistral7b.server.state import State, house
from mistral7b.server.streams import STREAMS, JsonResponse

router = APIRouter()


@router.post("/v1/completions", response_class=JsonResponse, responses=STREAMS)
async def completions(body: CompletionRequest, request: Request, state: Annotated[State, Depends(house)]) -> Response:
    """Go on with one prompt or several. Text gets one BOS before it and nothing else; ids are taken as they are.

    The choices of several prompts are numbered through: the n of the first prompt, then the n of the next.
    """
    llm = state.model
    name = state.served(body.model)
    _check(body, state.settings)
    state.engine.check(len(body.prompts) * (body.n or 1))  # before so many are prepared
    groups = await run_in_threadpool(lambda: [prepare(llm, body, prompt, state.adapter(name)) for prompt in body.prompts])
    echoes = [_echo(llm, group[0]) if body.echo else None for group in groups]
    made = [completion for group in groups for completion in group]
    reply = CompletionReply(body, Envelope("cmpl", name, state.fingerprint), made, llm.tokenizer, echoes)
    return await answer(state, request, made, reply, prompts=len(groups), stream=bool(body.stream), user=body.user)


def prepare(llm: LLM, body: CompletionRequest, prompt: str | list[int], adapter: str | None = None) -> list[Completion]:
    """The completions of one prompt, not yet queued. Raises ApiError and the user errors of the house."""
    echoed = body.logprobs if body.echo else None
    params = body.params(
        max_tokens=body.limit,
        logprobs=body.logprobs,
        prompt_logprobs=None if echoed is None else max(echoed, body.prompt_logprobs or 0),
    )
    text = prompt if isinstance(prompt, str) else None
    if text is not None and not text:
        raise BadField("prompt", "the prompt is empty; give at least one character", code="invalid_value")
    if text is not None and llm.tokenizer is None:
        raise TokenizerError("a text prompt needs a tokenizer, and this model folder has none; send ids")
    if isinstance(prompt, str):
        assert llm.tokenizer is not None
        ids = llm.tokenizer.encode(prompt, bos=True)
    else:
        ids = prompt
    try:
        return llm.prepare(ids, params, prompt=text, context_ids=ids, priority=body.priority or 0, adapter=adapter)
    except RequestError as error:
        raise body.refused(error, "prompt") from None


def _check(body: CompletionRequest, settings: Settings) -> None:
    body.check(settings)
    if len(body.prompts) > settings.max_inputs:
        message = f"{len(body.prompts):,} prompts are more than the {settings.max_inputs:,} this server takes in one request"
        raise BadField("prompt", message, code="invalid_value")


def _echo(llm: LLM, completion: Completion) -> str:
    """The prompt as text."""
    if completion.prompt is not None or llm.tokenizer is None:
        return completion.prompt or ""
    return llm.tokenizer.decode(id for id in completion.request.prompt if id < llm.tokenizer.vocab_size)

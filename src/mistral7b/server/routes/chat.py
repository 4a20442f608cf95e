"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from mistral7b.api import LLM
from mistral7b.completion import Completion
from mistral7b.conversations import Prompt
from mistral7b.engine.constraint import Constraint
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import ChatError, RequestError, TokenizerError
from mistral7b.server.chat_reply import ChatReply
from mistral7b.server.either import Either
from mistral7b.server.envelope import Envelope
from mistral7b.server.errors import BadField
from mistral7b.server.following import answer
from mistral7b.server.logprobs import Namer
from mistral7b.server.protocol.chat import ChatRequest
from mistral7b.server.session_turn import SessionTurn
from mistral7b.server.settings import Settings
from mistral7b.server.state import State, house
from mistral7b.server.streams import STREAMS, JsonResponse
from mistral7b.tokens import chat

router = APIRouter()


@router.post("/v1/chat/completions", response_class=JsonResponse, responses=STREAMS)
async def chat_completions(body: ChatRequest, request: Request, state: Annotated[State, Depends(house)]) -> Response:
    """Answer a conversation.

    With `tool_choice: "none"` the tools are left out of the prompt, so that none can be called; "required" and "any" are one.
    An answer that calls tools has `finish_reason: "tool_calls"`, and `content: null` unless it also says something. A field
    `notes` tells, where there is anything to tell, what the template had to change in the messages. With `session_id` the
    cache of the conversation is kept on disk under that name: the next turn goes on from it, after a restart too.
    """
    llm = state.model
    name = state.served(body.model)
    _check(body, state.settings)
    turn = _turn(state, body, state.adapter(name))
    ended = turn.close if turn is not None else _nothing
    try:
        completions = await run_in_threadpool(prepare, llm, body, turn, state.adapter(name))
        envelope = Envelope("chatcmpl", name, state.fingerprint)
        keep = partial(turn.keep, llm, state.engine) if turn is not None else None
        reply = ChatReply(body, envelope, completions, Namer(llm.tokenizer), keep)
        return await answer(state, request, completions, reply, prompts=1, stream=bool(body.stream), user=body.user, ended=ended)
    except BaseException:
        ended()
        raise


def prepare(llm: LLM, body: ChatRequest, turn: SessionTurn | None = None, adapter: str | None = None) -> list[Completion]:
    """The completions that answer `body`, not yet queued. Raises ApiError and the user errors of the house."""
    if llm.tokenizer is None:
        raise TokenizerError("chat needs a tokenizer, and this model folder has none; use /v1/completions with ids")
    params = body.params(max_tokens=body.limit, logprobs=body.top)
    if params.max_tokens == 0:
        raise BadField("max_tokens", "max_tokens must be at least 1", code="invalid_value")
    asked = _asked(llm, body, turn)
    offered = bool(body.offered)
    reply = not asked.prefix_ids
    try:
        made = llm.prepare(
            asked.ids,
            params,
            context_ids=asked.prefix_ids,
            constraint=_calls(llm, body, params, reply) if offered else None,
            calls_marker=llm.tokenizer.control_id("[TOOL_CALLS]") if offered else None,
            priority=body.priority or 0,
            notes=asked.notes,
            adapter=adapter,
        )
    except RequestError as error:
        raise body.refused(error, "tools" if str(error).startswith("tool") else "messages") from None
    if turn is not None:
        turn.follow(made[0], asked)
    return made


def _asked(llm: LLM, body: ChatRequest, turn: SessionTurn | None) -> Prompt:
    """The prompt; raises BadField for messages or tools that no template can hold."""
    assert llm.tokenizer is not None
    try:
        if turn is not None:
            return turn.prompt(llm)
        rendered = chat.render(llm.tokenizer, body.messages, body.offered, safe_prompt=bool(body.safe_prompt))
    except ChatError as error:
        about_tools = str(error).startswith("tool ") or "tool schema" in str(error)
        raise BadField("tools" if about_tools else "messages", str(error), code="invalid_value") from None
    return Prompt(rendered.ids, None, rendered.prefix_ids, rendered.notes)


def _check(body: ChatRequest, settings: Settings) -> None:
    body.check(settings)
    for name, given, most in (("messages", body.messages, settings.max_messages), ("tools", body.tools, settings.max_tools)):
        if given is not None and len(given) > most:
            message = f"{len(given):,} {name} are more than the {most:,} this server takes"
            raise BadField(name, message, code="invalid_value")
    if body.session_id is not None and (body.n or 1) > 1:
        raise BadField("n", "n must be 1 in a session; leave out session_id, or ask for one choice", code="invalid_value")


def _turn(state: State, body: ChatRequest, adapter: str | None) -> SessionTurn | None:
    """The session that the request names. Raises BadField where there are none, ApiError 409 while another request has it."""
    if body.session_id is None:
        return None
    if not state.sessions:
        message = "session_id: this server keeps no sessions; leave it out, or start it with --session-dir"
        raise BadField("session_id", message, code="unsupported_parameter")
    return SessionTurn(state.sessions[adapter], body)


def _nothing() -> None:
    pass


def _calls(llm: LLM, body: ChatRequest, params: SamplingParams, reply: bool) -> Callable[[], Constraint]:
    """What makes the grammar of an answer that may, or must, call tools."""
    grammars, structured = llm.grammars, params.structured
    parallel = body.parallel_tool_calls is not False
    assert llm.tokenizer is not None
    marker = llm.tokenizer.control_id("[TOOL_CALLS]")

    def make() -> Constraint:
        required = body.forced or structured is not None
        try:
            calls = grammars.calls(body.offered, name=body.named, required=required, parallel=parallel)
        except ChatError as error:
            raise BadField("tool_choice" if body.named else "tools", str(error)) from None
        if structured is None or body.forced:
            return calls
        return Either(grammars.constraint(structured, reply=reply), calls, marker)

    return make

"""/v1/moderations: the paper's self-reflection (section 5.2), in the shape of OpenAI's endpoint.

The model is asked, in its chat template, which of the 13 categories of `tokens.guardrail` a text falls into; a grammar leaves it
these and "not moderated" to answer with, and it answers greedily. So every text has exactly one answer, and the same one each
time. The score is the probability that the model, unbound by the grammar, gives this answer: near 0 it would rather have
said something else. How well it judges is the model's affair: the paper reports a precision of 99.4% at a recall of 95.6% (of
acceptable prompts) for the instruct model on its own data; the embedded model was trained for nothing of the kind.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from mistral7b.completion import Completion
from mistral7b.engine.params import SamplingParams
from mistral7b.server.logs import Record, record_of
from mistral7b.server.protocol.moderations import ModerationsRequest, moderation_result
from mistral7b.server.routes.tokens import tokenizer_of
from mistral7b.server.state import State, house
from mistral7b.server.streams import JsonResponse, unless_gone
from mistral7b.server.ticket import Ticket
from mistral7b.tokens import chat
from mistral7b.tokens.guardrail import CATEGORIES, NOT_MODERATED, moderation_prompt
from mistral7b.tokens.structured import StructuredOutput

router = APIRouter(prefix="/v1/moderations", tags=["moderations"])
_MAX_TOKENS = 64  # the longest answer has 24 letters
_ANSWERS = StructuredOutput("choice", [*CATEGORIES, NOT_MODERATED])


@router.post("", response_class=JsonResponse)
async def moderate(asked: ModerationsRequest, state: Annotated[State, Depends(house)], request: Request) -> JsonResponse:
    """One result a text: `flagged` if it falls into a category, and into which."""
    name, record = state.served(asked.model), record_of(request.scope)
    inputs = asked.inputs(most=state.settings.max_inputs)
    state.engine.check(len(inputs))
    # Beside the loop: rendering and grammars take a while where the texts are long.
    completions = await asyncio.to_thread(lambda: [_question(state, text, state.adapter(name)) for text in inputs])
    record.prompt(sum(len(completion.request.prompt) for completion in completions))
    ticket = state.engine.submit(completions, deadline=state.deadline)
    results = await unless_gone(request, ticket, _judge(ticket, len(completions), record))
    return JsonResponse({"id": f"modr-{secrets.token_hex(12)}", "model": name, "results": results})


def _question(state: State, text: str, adapter: str | None) -> Completion:
    rendered = chat.render(tokenizer_of(state), [{"role": "user", "content": moderation_prompt(text)}])
    params = SamplingParams(temperature=0, max_tokens=_MAX_TOKENS, structured=_ANSWERS, logprobs=0)
    return state.model.prepare(rendered.ids, params, adapter=adapter)[0]


async def _judge(ticket: Ticket, count: int, record: Record) -> list[dict[str, Any]]:
    """The answers as results, in the order of the texts."""
    texts, logprobs = [""] * count, [0.0] * count
    async for event in ticket:
        record.token(len(event.ids))
        texts[event.index] += event.text
        # Of what stands for each token only the chosen one was asked for.
        chosen = zip(event.ids, event.logprobs or (), strict=True)
        logprobs[event.index] += sum(reported[id].logprob for id, reported in chosen)
        if event.finish_reason is not None:
            record.finished(event.finish_reason)
    return [moderation_result(text, math.exp(logprob)) for text, logprob in zip(texts, logprobs, strict=True)]

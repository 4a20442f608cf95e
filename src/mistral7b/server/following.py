"""From a ticket's events to an answer, whole or streamed, with the request's log line filled in on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import Response

from mistral7b.completion import Completion
from mistral7b.server.logs import Record, record_of
from mistral7b.server.state import State
from mistral7b.server.streams import EventStream, JsonResponse, unless_gone
from mistral7b.server.ticket import Event, Ticket


class Reply(Protocol):
    """An answer in the making."""

    async def whole(self, events: AsyncIterator[Event]) -> Mapping[str, Any]:
        """All of it at once."""

    def chunks(self, events: AsyncIterator[Event]) -> AsyncIterator[Mapping[str, Any]]:
        """Piece by piece."""


async def answer(
    state: State,
    request: Request,
    completions: Sequence[Completion],
    reply: Reply,
    *,
    prompts: int,
    stream: bool,
    user: str | None,
    ended: Callable[[], None] = lambda: None,
) -> Response:
    """Run `completions` and send what `reply` makes of them. Raises QueueFull, Draining and what ends a ticket.

    `ended` is called when a stream is over; a whole answer is over when this returns.
    """
    ticket = state.engine.submit(completions, deadline=state.deadline)
    record = record_of(request.scope)
    record.user = user
    for first in completions[:: len(completions) // prompts]:
        record.prompt(len(first.request.prompt))
    events = _recorded(ticket, record)
    if stream:
        return EventStream(ticket, reply.chunks(events), ended)
    response = JsonResponse(await unless_gone(request, ticket, reply.whole(events)))
    ended()
    return response


async def _recorded(ticket: Ticket, record: Record) -> AsyncIterator[Event]:
    async for event in ticket:
        record.queue_s = ticket.queue_s
        record.token(len(event.ids))
        if event.finish_reason is not None:
            record.finished(event.finish_reason)
        yield event

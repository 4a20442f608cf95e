"""The engine's side of the server: tickets in, steps, news out. All of it runs on the engine's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mistral7b.completion import Completion
from mistral7b.engine.engine import Engine
from mistral7b.engine.request import Request
from mistral7b.server.errors import ApiError, Draining, Internal, TimedOut
from mistral7b.server.ticket import Event, Ticket

_log = logging.getLogger(__name__)


class Stepper:
    """Runs the requests of tickets on `engine`, and tells `ended` how many completions have come to their end.

    Nothing a request does raises here: it ends that request with an error, and the others go on.
    """

    def __init__(self, engine: Engine, ended: Callable[[int], None]) -> None:
        self._engine = engine
        self._ended = ended
        self._following: dict[Request, tuple[Ticket, int]] = {}

    @property
    def busy(self) -> bool:
        """True while there is anything to step."""
        return bool(self._following)

    def admit(self, ticket: Ticket) -> None:
        """Queue the requests of `ticket` in the engine."""
        try:
            for index, completion in enumerate(ticket.completions):
                self._engine.add(completion.request)
                self._following[completion.request] = (ticket, index)
        except Exception:  # noqa: BLE001 - one request that cannot be queued is no reason to end the others
            _log.exception("a request could not be queued")
            self.end(ticket, Internal())

    def expire(self) -> None:
        """End the tickets whose deadline is over."""
        now = time.monotonic()
        for ticket in self._tickets():
            if ticket.deadline is not None and ticket.deadline <= now:
                self.end(ticket, TimedOut())

    def close(self) -> None:
        """End all tickets; the server is going away."""
        for ticket in self._tickets():
            self.end(ticket, Draining())

    def step(self) -> None:
        """One step of the engine, and its news to the tickets. A step that raises ends the requests that were running."""
        begun = time.monotonic()
        try:
            self._engine.step()
        except Exception:  # noqa: BLE001 - whatever it was, the requests of that step end and the server lives
            _log.exception("a step of the engine failed")
            self._recover()
        news: dict[Ticket, list[Event]] = {}
        # All of them, not only those of this step: a call may have stepped the engine too.
        for request, (ticket, index) in list(self._following.items()):
            if ticket.begun is None and request.computed:
                ticket.begun = begun
            if request in self._following and (request.finish_reason is not None or ticket.completions[index].behind):
                self._follow(request, news)
        for ticket, events in news.items():
            ticket.give(events)

    def _follow(self, request: Request, news: dict[Ticket, list[Event]]) -> None:
        """Turn what `request` was given into an event among the `news`, or its failure into the ticket's end."""
        ticket, index = self._following[request]
        try:
            event = _event(index, ticket.completions[index])
        except Exception as error:  # noqa: BLE001 - text that cannot be made ends one request, not the server
            _log.error("a request failed: %s", request.error or error, exc_info=not isinstance(error, ApiError))
            news.pop(ticket, None)
            self.end(ticket, error if isinstance(error, ApiError) else Internal())
            return
        if event.finish_reason is not None:
            self._leave(request)  # a stop string ends the text, not the request
            self._settle(ticket, 1)
        news.setdefault(ticket, []).append(event)

    def _recover(self) -> None:
        """End the requests that the failed step ran, and give their pages back; without any, those it could not admit."""
        scheduler = self._engine.scheduler
        for request in list(scheduler.running) or list(scheduler.waiting):
            if request in self._following:
                self.end(self._following[request][0], Internal())
            else:
                self._leave(request)

    def end(self, ticket: Ticket, error: ApiError | None = None) -> None:
        """Cancel what still runs of `ticket`, and tell its client: that it was cancelled, or of the `error`."""
        for completion in ticket.completions:
            self._leave(completion.request)
        self._settle(ticket, ticket.open)
        ticket.give(error if error is not None else [])

    def _leave(self, request: Request) -> None:
        """Take `request` out of the engine; one that has ended stays as it is."""
        self._following.pop(request, None)
        try:
            self._engine.cancel(request)
        except Exception:  # noqa: BLE001 - the thread must outlive books that are out of order
            _log.exception("a request could not be taken out of the engine")

    def _settle(self, ticket: Ticket, ended: int) -> None:
        ticket.open -= ended
        self._ended(ended)

    def _tickets(self) -> set[Ticket]:
        return {ticket for ticket, _ in self._following.values()}


def _event(index: int, completion: Completion) -> Event:
    """Take in the ids a step appended, one or (drafts) several. Raises Internal for a request that failed."""
    ids, called, logprobs = completion.n_tokens, len(completion.call_text), len(completion.logprobs)
    text = ""
    while completion.behind:
        text += completion.advance()
    if completion.request.finish_reason == "not_finite":
        raise Internal("the model gave numbers that are not finite; its weights or its dtype cannot be computed with")
    if completion.request.finish_reason == "error":
        told = completion.request.error or ""
        if completion.request.constraint is not None and told.startswith("structured output: "):
            raise ApiError(400, told, param="structured_outputs", code="grammar_failed")
        raise Internal()
    return Event(
        index=index,
        text=text,
        call_text=completion.call_text[called:],
        ids=[sampled.id for sampled in completion.request.output[ids : completion.n_tokens]],
        logprobs=completion.logprobs[logprobs:] if completion.request.params.logprobs is not None else None,
        finish_reason=completion.finish_reason if completion.ended else None,
        stop_reason=completion.stop_reason,
    )

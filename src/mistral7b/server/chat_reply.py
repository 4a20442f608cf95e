"""The answer to a chat. Streamed or whole, it is made of the same deltas, so the two cannot differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from mistral7b.completion import Completion
from mistral7b.server.chat_choice import Choice
from mistral7b.server.envelope import Envelope, usage
from mistral7b.server.logprobs import Namer, vllm
from mistral7b.server.protocol.chat import ChatRequest
from mistral7b.server.ticket import Event


class ChatReply:
    """Turns the events of a ticket into one `chat.completion`, or into its chunks.

    `keep` is given a message that is whole, before the client is told so.
    """

    def __init__(
        self,
        body: ChatRequest,
        envelope: Envelope,
        completions: Sequence[Completion],
        namer: Namer,
        keep: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
    ) -> None:
        self._body = body
        self._envelope = envelope
        self._completions = completions
        self._namer = namer
        self._keep = keep
        self._choices = [Choice(completion, index) for index, completion in enumerate(completions)]

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        """The answer as one object."""
        async for event in events:
            choice = self._choices[event.index]
            choice.take(event)
            choice.logprobs += self._logprobs(event)
            await self._kept(choice)
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(self._choices)]
        counts = usage([self._completions[0]], self._choices)
        return {**self._envelope.head("chat.completion"), **self._extras(), "choices": choices, "usage": counts}

    async def chunks(self, events: AsyncIterator[Event]) -> AsyncIterator[dict[str, Any]]:
        """The answer in pieces: for each choice first its role, last its finish_reason; then, if asked for, the usage."""
        begun: set[int] = set()
        extras = self._extras
        counted = self._body.stream_options is not None and bool(self._body.stream_options.include_usage)
        empty = {"usage": None} if counted else {}
        head = self._envelope.head("chat.completion.chunk")
        async for event in events:
            choice = self._choices[event.index]
            if event.index not in begun:
                first = extras() if not begun else {}
                begun.add(event.index)
                role = {"role": "assistant", "content": ""}
                yield {**head, **first, "choices": [_piece(event.index, role)], **empty}
            delta = choice.take(event)
            extra = self._per_event(event)
            if delta or extra:
                yield {**head, "choices": [_piece(event.index, delta, **extra)], **empty}
            if choice.finish_reason is not None:
                await self._kept(choice)
                last = _piece(event.index, {}, finish_reason=choice.finish_reason, stop_reason=choice.stop_reason)
                yield {**head, "choices": [last], **empty}
        if counted:
            yield {**head, "choices": [], "usage": usage([self._completions[0]], self._choices)}

    async def _kept(self, choice: Choice) -> None:
        if self._keep is not None and choice.finish_reason is not None:
            await self._keep(choice.message())

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        made: dict[str, Any] = {
            "index": index,
            "message": choice.message(),
            "logprobs": None if self._body.top is None else {"content": choice.logprobs},
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
        }
        return made | ({"token_ids": choice.ids} if self._body.return_token_ids else {})

    def _per_event(self, event: Event) -> dict[str, Any]:
        logprobs = self._logprobs(event)
        extra: dict[str, Any] = {"logprobs": {"content": logprobs}} if logprobs else {}
        return extra | ({"token_ids": event.ids} if self._body.return_token_ids and event.ids else {})

    def _logprobs(self, event: Event) -> list[dict[str, Any]]:
        if self._body.top is None or event.logprobs is None:
            return []
        pairs = zip(event.ids, event.logprobs, strict=True)
        return [self._namer.chat(id, likely, self._body.top) for id, likely in pairs]

    def _extras(self) -> dict[str, Any]:
        """Fields beyond OpenAI's, only where there is something to say: notes of the template, and what was asked for."""
        first = self._completions[0]
        extras: dict[str, Any] = {"notes": first.notes} if first.notes else {}
        if self._body.prompt_logprobs is not None:
            extras["prompt_logprobs"] = vllm(first.prompt_logprobs())
        if self._body.return_token_ids:
            extras["prompt_token_ids"] = list(first.request.prompt)
        return extras


def _piece(index: int, delta: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **extra}

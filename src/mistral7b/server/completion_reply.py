"""The answer to a plain completion, streamed or whole, made of the same pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from mistral7b.completion import Completion
from mistral7b.server.envelope import Envelope, usage
from mistral7b.server.logprobs import Legacy, Likely, vllm
from mistral7b.server.protocol.completions import CompletionRequest
from mistral7b.server.ticket import Event
from mistral7b.tokens.tokenizer import Tokenizer


class Choice:
    """One completion: events in, pieces of text and of log-probabilities out. With `echo` the prompt is the first piece."""

    def __init__(self, completion: Completion, body: CompletionRequest, tokenizer: Tokenizer | None, echo: str | None) -> None:
        self.ids: list[int] = []
        self.text = ""
        self.lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        self.finish_reason: str | None = None
        self.stop_reason: int | str | None = None
        self._completion = completion
        self._echo = echo
        context = [] if echo is not None else completion.request.prompt
        self._legacy = None if body.logprobs is None else Legacy(tokenizer, context, body.logprobs)

    def take(self, event: Event) -> tuple[str, dict[str, list[Any]] | None]:
        """The text that `event` adds, and the lists for its ids."""
        text, ids = event.text, list(event.ids)
        likely: list[Likely | None] = [*(event.logprobs or [])]
        told = None
        if self._echo is not None:
            text = self._echo + text
            if self._legacy is not None:
                ids = [*self._completion.request.prompt, *ids]
                likely = [*(self._completion.prompt_logprobs() or []), *likely]
            self._echo = None
        if self._legacy is not None:
            told = self._legacy.take(ids, likely)
            for name, values in told.items():
                self.lists[name] += values
        self.ids += event.ids
        self.text += text
        self.finish_reason, self.stop_reason = event.finish_reason, event.stop_reason
        return text, told


class CompletionReply:
    """Turns the events of a ticket into one `text_completion`, or into its chunks.

    `prompts` are the texts to echo, one for each prompt; the choices of the first prompt come first, then those of the next.
    """

    def __init__(
        self,
        body: CompletionRequest,
        envelope: Envelope,
        completions: Sequence[Completion],
        tokenizer: Tokenizer | None,
        prompts: Sequence[str | None],
    ) -> None:
        self._body = body
        self._envelope = envelope
        self._each = len(completions) // len(prompts)
        self._completions = completions
        self._choices = [
            Choice(completion, body, tokenizer, prompts[index // self._each]) for index, completion in enumerate(completions)
        ]

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        """The answer as one object."""
        async for event in events:
            self._choices[event.index].take(event)
        choices = []
        for index, choice in enumerate(self._choices):
            lists = None if self._body.logprobs is None else choice.lists
            extra = {"token_ids": choice.ids} if self._body.return_token_ids else {}
            choices.append(_piece(index, choice, choice.text, lists) | self._first(index) | extra)
        return {**self._envelope.head("text_completion"), **self._notes(), "choices": choices, "usage": self._usage()}

    async def chunks(self, events: AsyncIterator[Event]) -> AsyncIterator[dict[str, Any]]:
        """The answer in pieces; then, if asked for, the usage."""
        counted = self._body.stream_options is not None and bool(self._body.stream_options.include_usage)
        empty = {"usage": None} if counted else {}
        head = self._envelope.head("text_completion")
        notes: dict[str, Any] = self._notes()
        begun: set[int] = set()
        async for event in events:
            choice = self._choices[event.index]
            text, lists = choice.take(event)
            extra = {"token_ids": event.ids} if self._body.return_token_ids else {}
            if event.index not in begun:
                begun.add(event.index)
                extra |= self._first(event.index)
            if text or lists or extra or choice.finish_reason is not None:
                yield {**head, **notes, "choices": [_piece(event.index, choice, text, lists) | extra], **empty}
                notes = {}
        if counted:
            yield {**head, "choices": [], "usage": self._usage()}

    def _first(self, index: int) -> dict[str, Any]:
        """vLLM's fields about the prompt, which come once for each choice."""
        completion, extra = self._completions[index], dict[str, Any]()
        if self._body.prompt_logprobs is not None:
            extra["prompt_logprobs"] = vllm(completion.prompt_logprobs())
        if self._body.return_token_ids:
            extra["prompt_token_ids"] = list(completion.request.prompt)
        return extra

    def _usage(self) -> dict[str, Any]:
        return usage(self._completions[:: self._each], self._choices)

    def _notes(self) -> dict[str, Any]:
        notes = list(dict.fromkeys(note for completion in self._completions for note in completion.notes))
        return {"notes": notes} if notes else {}


def _piece(index: int, choice: Choice, text: str, lists: dict[str, list[Any]] | None) -> dict[str, Any]:
    return {
        "index": index,
        "text": text,
        "logprobs": lists,
        "finish_reason": choice.finish_reason,
        "stop_reason": choice.stop_reason,
    }

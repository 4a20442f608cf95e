"""A turn of a conversation whose cache is kept on disk, under a name that the client chose."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from fastapi.concurrency import run_in_threadpool

from mistral7b.api import LLM
from mistral7b.completion import Completion
from mistral7b.conversations import Kept, Prompt, SessionStore, answered_by, go_on, prompt
from mistral7b.errors import Mistral7BError, RequestError
from mistral7b.server.errors import ApiError
from mistral7b.server.protocol.chat import ChatRequest
from mistral7b.server.worker import Worker

_log = logging.getLogger(__name__)


class SessionTurn:
    """Holds the name from before the prompt is made until `close`, so that no two turns of a conversation cross.

    The client sends the whole conversation, as always; the name says only where its cache lies. What was saved under it and
    does not fit is computed again, never trusted. Raises ApiError 409 while another turn has the name.
    """

    def __init__(self, store: SessionStore, body: ChatRequest) -> None:
        assert body.session_id is not None
        self._store = store
        self._name = body.session_id
        self._messages = [_plain(message) for message in body.messages]
        self._tools = body.offered or None
        self._safe_prompt = bool(body.safe_prompt)
        self._completion: Completion | None = None
        self._held = ExitStack()
        try:
            self._held.enter_context(store.hold(self._name))
        except RequestError as error:
            raise ApiError(409, str(error), type="invalid_request_error", param="session_id", code="session_busy") from None

    def prompt(self, llm: LLM) -> Prompt:
        """The turn's prompt, and what of it the saved cache has. Raises ChatError as `chat.render` does."""
        assert llm.tokenizer is not None
        window = llm.model.config.sliding_window
        return prompt(
            llm.tokenizer, self._load(), self._messages, self._tools, safe_prompt=self._safe_prompt, window=window
        )  # fmt: skip

    def follow(self, completion: Completion, asked: Prompt) -> None:
        """Let `completion`, which answers `asked` and is not yet queued, go on from the cache and leave its own."""
        go_on(completion.request, asked)
        self._completion = completion

    async def keep(self, llm: LLM, worker: Worker, message: dict[str, Any]) -> None:
        """Save the conversation with the reply `message`, before the client is told that it is whole."""
        assert self._completion is not None
        request, ids = self._completion.request, self._completion.token_ids
        # After the step, and after the cancellation that a stop string asks for, the engine has left the cache in it.
        await worker.call(lambda: None)

        def save() -> None:
            assert llm.tokenizer is not None
            kept = answered_by(
                request, ids, llm.tokenizer, [*self._messages, _plain(message)], self._tools, safe_prompt=self._safe_prompt,
                window=llm.model.config.sliding_window,
            )  # fmt: skip
            self._store.save(self._name, kept)

        try:
            await run_in_threadpool(save)
        except (Mistral7BError, OSError) as error:
            _log.error("session %s could not be saved: %s", self._name, error)
            told = "the answer is whole, but the session could not be saved; the one before it stands"
            raise ApiError(
                507,
                told,
                type="server_error",
                param="session_id",
                code="session_not_saved",
                headers={"x-should-retry": "false"},
            ) from None

    def close(self) -> None:
        """Let go of the name; any number of times."""
        self._held.close()

    def _load(self) -> Kept:
        try:
            return self._store.load(self._name) or Kept()
        except (Mistral7BError, OSError) as error:  # it names files of this machine, which are not the client's to know
            _log.error("session %s could not be read: %s", self._name, error)
            told = f"session {self._name!r} is broken or another model's; choose another session_id"
            raise ApiError(409, told, type="invalid_request_error", param="session_id", code="session_broken") from None


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """An assistant's `message` without keys that say nothing, such as the nulls clients write when they send an answer back."""
    if message.get("role") != "assistant":
        return dict(message)
    said = {key: value for key, value in message.items() if value not in (None, [], {}, "")}
    return said if "tool_calls" in said else {"content": "", **said}

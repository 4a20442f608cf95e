"""SessionFile: a chat that goes on where its file ended, and that writes the file after every reply."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from mistral7b.cli.conversation import Conversation
from mistral7b.cli.opening import Opened
from mistral7b.conversations import Fingerprint, Kept, answered_by, go_on, load, prompt, save
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError, TokenizerError

if TYPE_CHECKING:
    from mistral7b.engine.request import Request
    from mistral7b.outputs import Delta, RequestOutput


class SessionFile:
    """The file at `path` and what it holds, to go on with an opened model.

    If it is there, `conversation` takes over what it holds. A system prompt or tools that `conversation` has, or
    `safe_prompt`, must be the file's: RequestError, unless nothing has been said in it yet. Raises what `conversations.load`
    raises.
    """

    def __init__(self, path: Path, opened: Opened, conversation: Conversation, *, safe_prompt: bool) -> None:
        self._path = path
        self._llm, self._adapter = opened.llm, opened.adapter
        if opened.llm.tokenizer is None:
            raise TokenizerError("chat needs a tokenizer, and this model folder has none; add its tokenizer.model")
        self._tokenizer = opened.llm.tokenizer
        llm, number = opened.llm, opened.llm.adapters.get(opened.adapter or "")
        self._model = Fingerprint.of(llm.model, self._tokenizer, llm.engine.pool.k.dtype, opened.name, number)
        self._request: Request | None = None
        self.kept = load(path, self._model) if path.exists() else Kept()
        begun = any(message["role"] != "system" for message in self.kept.messages)
        if begun:
            self._refuse_other(conversation, safe_prompt)
        messages = self.kept.messages if begun or conversation.system is None else conversation.messages
        conversation.resume(messages, self.kept.tools if conversation.tools is None else conversation.tools)
        self.safe_prompt = safe_prompt or self.kept.safe_prompt

    def stream(self, conversation: Conversation, params: SamplingParams) -> Generator[Delta]:
        """Like `LLM.stream_chat`, from where the last reply ended."""
        asked = prompt(
            self._tokenizer, self.kept, conversation.messages, conversation.tools, safe_prompt=self.safe_prompt,
            window=self._llm.model.config.sliding_window,
        )  # fmt: skip
        completions = self._llm.prepare(asked.ids, params, context_ids=asked.prefix_ids, notes=asked.notes, adapter=self._adapter)
        self._request = completions[0].request
        go_on(self._request, asked)
        return self._llm.stream_prepared(completions)

    def keep(self, conversation: Conversation, output: RequestOutput) -> None:
        """Write the conversation with the answer to what was streamed last. Raises what `conversations.save` raises."""
        request, self._request = self._request, None
        assert request is not None, "there is an answer to what was asked"
        self.kept = answered_by(
            request, output.outputs[0].token_ids, self._tokenizer, conversation.messages, conversation.tools,
            safe_prompt=self.safe_prompt, window=self._llm.model.config.sliding_window,
        )  # fmt: skip
        save(self._path, self.kept, self._model)

    def reset(self, conversation: Conversation) -> None:
        """Empty the file, if there is one; system prompt and tools stay."""
        self.kept = Kept(messages=list(conversation.messages), tools=conversation.tools, safe_prompt=self.safe_prompt)
        if self._path.exists():
            save(self._path, self.kept, self._model)

    def _refuse_other(self, conversation: Conversation, safe_prompt: bool) -> None:
        kept = self.kept
        for option, contradicts in (
            ("--system", conversation.system is not None and conversation.system != kept.system),
            ("--tools", conversation.tools is not None and conversation.tools != kept.tools),
            ("--safe-prompt", safe_prompt and not kept.safe_prompt),
        ):
            if contradicts:
                raise RequestError(
                    f"{option} is not what the conversation in {self._path} was begun with; leave it out, or name another file"
                )

"""A model that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mistral7b.cli.chat import Chat
from mistral7b.cli.opening import Opened
from mistral7b.engine.params import SamplingParams
from mistral7b.outputs import CompletionOutput, Delta, RequestOutput, Timing
from mistral7b.tokens.calls import ToolCall

Reply = str | list[ToolCall] | Exception | Callable[[], str]


class Scripted:
    """Streams each reply of the script a word at a time. An exception in it is raised; a function is called in mid-stream, and
    what it returns ends the reply."""

    def __init__(self, *script: Reply) -> None:
        self.script = list(script)
        self.asked: list[list[dict[str, Any]]] = []
        self.tools: Sequence[Mapping[str, Any]] | None = None
        self.params: list[SamplingParams] = []
        self.safe_prompt: bool | None = None
        self.cancelled = 0

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        safe_prompt: bool = False,
        adapter: str | None = None,
    ) -> Iterator[Delta]:
        assert adapter is None, "a model with no adapters"
        self.asked.append([dict(message) for message in messages])
        self.tools, self.safe_prompt, reply = tools, safe_prompt, self.script.pop(0)
        self.params.append(params)
        completion = CompletionOutput(0, "", [])
        output = RequestOutput(None, [1, 2, 3], [completion], False, Timing(0.01, 0.1))
        try:
            if isinstance(reply, Exception):
                raise reply
            calls = reply if isinstance(reply, list) else []
            said = reply if isinstance(reply, str) else "" if isinstance(reply, list) else "so far "
            for word in said.split(" "):
                completion.text += word + " "
                completion.token_ids.append(len(completion.token_ids))
                yield Delta(word + " ", output)
            more = reply() if callable(reply) else ""
            completion.text = (completion.text + more).strip()
            completion.tool_calls, completion.finish_reason, output.finished = calls, "stop", True
            yield Delta(more, output)
        finally:
            self.cancelled += not output.finished


def chat_of(llm: Scripted, *, quiet: bool = True) -> Chat:
    """A Chat whose model is `llm`."""
    opened = Opened(llm, "scripted", 0.1, None)  # type: ignore[arg-type]
    return Chat(opened, SamplingParams(seed=7), safe_prompt=False, quiet=quiet)

"""Messages and tools to ids, and a reply's ids back to content and tool calls, in the templates of v1, v2 and v3 (FACTS 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mistral7b.errors import ChatError
from mistral7b.tokens.calls import ToolCall, fit_ids, read_calls
from mistral7b.tokens.guardrail import with_safe_prompt
from mistral7b.tokens.messages import Message, in_order, read_messages
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.tokens.tools import read_tools
from mistral7b.variants import TokenizerVersion

if TYPE_CHECKING:
    from mistral_common.protocol.instruct.messages import ChatMessage
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

__all__ = ["Parsed", "Rendered", "ToolCall", "parse", "render"]


@dataclass(frozen=True)
class Rendered:
    """A prompt, from BOS to where the assistant's reply begins.

    `notes` has one line for each change made to the messages; none means they were rendered as sent. `prefix_ids` are the last
    ids of the prompt where the reply continues a given beginning (`prefix: true`), else empty: `Detokenizer(tokenizer,
    prompt_ids=rendered.prefix_ids)` streams the reply of any chat with the right first space.
    """

    ids: list[int]
    notes: list[str]
    prefix_ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Parsed:
    """A reply: text, and the tools it wants called."""

    content: str
    tool_calls: list[ToolCall]


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    safe_prompt: bool = False,
) -> Rendered:
    """Ids of a conversation in the template of the tokenizer's generation, ready for the assistant's reply.

    `messages` and `tools` are shaped as in the OpenAI API; content may be text or a list of text parts. mistral-common validates,
    normalises and encodes, each text on its own, so no text can become a control token. Nothing is added or cut: what had to
    change (system messages moved, neighbours of one role joined, tool call ids that do not fit v3) is in `notes`.
    `safe_prompt` alone puts the paper's guardrail before them. Raises ChatError, one line, for what the template cannot hold.
    """
    if safe_prompt:
        messages = with_safe_prompt(messages)
    notes: list[str] = []
    turns = in_order(read_messages(messages, notes), notes)
    offered = read_tools(tools or ())
    return encode(tokenizer.version, tokenizer.mistral, fitted(tokenizer.version, turns, offered, notes), offered, notes)


def parse(tokenizer: Tokenizer, ids: Sequence[int]) -> Parsed:
    """Content and tool calls of the `ids` a model replied with, up to the first EOS: the inverse of `render` for a reply.

    Calls begin at the control id [TOOL_CALLS], never at text that spells it. What follows it is a JSON list of calls, one
    call, or either after a further [TOOL_CALLS]. Text before and after the calls is content. If any of the JSON is
    cut off or malformed, there are no calls and everything is content, so nothing is lost.
    """
    reply = list(ids)
    if tokenizer.eos_id in reply:
        reply = reply[: reply.index(tokenizer.eos_id)]
    whole = Parsed(tokenizer.decode(reply), [])
    marker = None if tokenizer.version == "v1" else tokenizer.control_id("[TOOL_CALLS]")
    if marker is None or marker not in reply:
        return whole
    starts = [place for place, id in enumerate(reply) if id == marker]
    content = tokenizer.decode(reply[: starts[0]])
    calls: list[ToolCall] = []
    for start, end in zip(starts, [*starts[1:], len(reply)], strict=True):
        found = read_calls(tokenizer.decode(reply[start:end]), [call.id for call in calls])
        if found is None:
            return whole
        calls += found[0]
        content += found[1]
    return Parsed(content, calls)


def fitted(version: TokenizerVersion, turns: list[Message], offered: list[dict[str, Any]], notes: list[str]) -> list[Message]:
    """`turns` as the template of that generation can hold them; what had to change goes to `notes`. ChatError if none can."""
    if version == "v1":
        _refuse_tools(turns, offered)
    turns = _with_fitting_answers(turns, version == "v3", notes)
    if version == "v2":
        _note_left_out(turns, notes)
    return turns


def encode(
    version: TokenizerVersion,
    encoder: MistralTokenizer[Any, Any, Any, Any, Any],
    turns: list[Message],
    offered: list[dict[str, Any]],
    notes: list[str],
) -> Rendered:
    """The prompt of turns `in_order` and `fitted`, by mistral-common's `encoder` of that generation."""
    from mistral_common.protocol.instruct.messages import ChatMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.tool_calls import Tool

    last = turns[-1]
    if last.prefix and version != "v1" and last.content.endswith(" "):
        notes.append(f"left out the spaces at the end of message {last.number}, as the template does")
    with refusals(version):
        request = ChatCompletionRequest[ChatMessage](
            model="mistral-7b",  # its strict mode asks for a name
            messages=[to_mistral(turn) for turn in turns],
            tools=[Tool.from_openai(tool) for tool in offered] or None,
        )
        encoded = encoder.encode_chat_completion(request)
    return Rendered(list(encoded.tokens), notes, list(encoded.prefix_ids or ()))


@contextmanager
def refusals(version: TokenizerVersion) -> Iterator[None]:
    """What mistral-common refuses, as a ChatError of one line."""
    from mistral_common.exceptions import MistralCommonException

    try:
        yield
    except (MistralCommonException, ValueError, AssertionError, RecursionError) as error:
        raise ChatError(f"the {version} template cannot hold this conversation: {_one_line(error)}") from error


def _refuse_tools(turns: list[Message], offered: list[dict[str, Any]]) -> None:
    if offered:
        raise ChatError("this model's v1 template has no tools; send none, or use a v0.3 model")
    for turn in turns:
        if turn.calls or turn.role == "tool":
            raise ChatError(f"message {turn.number}: this model's v1 template has no tool calls or results; use a v0.3 model")


def _with_fitting_answers(turns: list[Message], need_ids: bool, notes: list[str]) -> list[Message]:
    """`turns` in which every tool result names the tool and call it answers and, if `need_ids` (v3), every id fits."""
    ids = fit_ids(call.id for turn in turns for call in turn.calls) if need_ids else {}
    tools: dict[str, str] = {}  # the name of the tool by the id of its latest call
    fitted: list[Message] = []
    for turn in turns:
        if need_ids and any(not call.id for call in turn.calls):
            raise ChatError(f"message {turn.number} has a tool call without an id")
        tools |= {call.id: call.name for call in turn.calls if call.id}
        if turn.role == "tool":
            _check_answer(turn, need_ids, tools, fitted)
            if not turn.content:
                notes.append(f"wrote the empty result in message {turn.number} as {{}}")
            answered = tools.get(turn.answers or "")
            turn = replace(turn, answers=ids.get(turn.answers or "", turn.answers), tool=turn.tool or answered)
        calls = tuple(replace(call, id=ids.get(call.id, call.id)) for call in turn.calls)
        fitted.append(replace(turn, calls=calls))
    notes.extend(
        f"tool call id {old!r} became {new!r}: v3 wants nine letters or digits" for old, new in ids.items() if old != new
    )
    return fitted


def _check_answer(turn: Message, need_id: bool, tools: Mapping[str, str], before: list[Message]) -> None:
    if turn.answers is None and (need_id or turn.tool is None):
        raise ChatError(f"message {turn.number} is a tool result without a tool_call_id")
    unknown = turn.answers is not None and turn.answers not in tools
    if unknown or not any(earlier.calls for earlier in before):
        raise ChatError(f"message {turn.number} is the result of no earlier tool call")


def _note_left_out(turns: list[Message], notes: list[str]) -> None:
    last_user = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=0)
    left_out = [turn.number for turn in turns[:last_user] if turn.calls or turn.role == "tool"]
    notes.extend(
        f"left out message {number}: v2 keeps tool calls and results only after the last user message" for number in left_out
    )


def to_mistral(turn: Message) -> ChatMessage:
    """One message in the words of mistral-common."""
    from mistral_common.protocol.instruct import messages, tool_calls

    if turn.role == "system":
        return messages.SystemMessage(content=turn.content)
    if turn.role == "user":
        return messages.UserMessage(content=turn.content)
    if turn.role == "tool":
        return messages.ToolMessage(content=turn.content, tool_call_id=turn.answers, name=turn.tool)
    calls = [
        tool_calls.ToolCall(id=call.id, function=tool_calls.FunctionCall(name=call.name, arguments=call.arguments))
        for call in turn.calls
    ]
    return messages.AssistantMessage(content=turn.content, tool_calls=calls or None, prefix=turn.prefix)


def _one_line(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    line = " ".join(str(error).split())[:300] or type(error).__name__
    return line.encode("utf-8", "backslashreplace").decode()  # it may quote a lone surrogate, which no terminal can print

"""The ids of a conversation's next turn, such that nothing is computed again where the template allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mistral7b.conversations.kept import Kept, Message
from mistral7b.engine.request import Request
from mistral7b.model.snapshot import KVState
from mistral7b.tokens import chat
from mistral7b.tokens.calls import ToolCall, json_object
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.tokens.tools import read_tool_calls

_MOVED = "this model's template moves the system prompt and the tools to the last message"
_CHANGED = "what was said before is no longer what it was"
_UNFAITHFUL = "the last reply does not stand in the conversation as the model wrote it"


@dataclass(frozen=True)
class Prompt:
    """What to run: `ids`, of which `state` has the first; `prefix_ids` and `notes` as in `chat.Rendered`."""

    ids: list[int]
    state: KVState | None
    prefix_ids: list[int]
    notes: list[str]

    def __post_init__(self) -> None:
        if self.state is not None:
            done = self.state.ids
            assert len(done) < len(self.ids), "one id at least is left to compute"
            assert tuple(self.ids[: len(done)]) == done, "a state goes on only with its own ids"


def prompt(
    tokenizer: Tokenizer,
    kept: Kept,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    *,
    safe_prompt: bool,
    window: int | None,
) -> Prompt:
    """The prompt of the turn that `messages` end with, after `kept`, and what of `kept.state` it can go on from.

    If the kept messages still stand, and the template puts what is new behind what was there, the prompt is the kept ids as
    they were run and then the new ones. The templates of v2 and v3 put the system prompt and the tools before the last user
    message, so there earlier ids change with every turn: the prompt is then rendered anew, as it is after an edit, after a stop
    string has cut the reply, or where the message cannot hold all that the model wrote (text beside tool calls). What the
    state still has of it is used; `notes` tell what is computed again. Raises ChatError as `chat.render` does.
    """
    rendered = chat.render(tokenizer, messages, tools, safe_prompt=safe_prompt)
    same = kept.safe_prompt == safe_prompt and list(kept.tools or ()) == list(tools or ())
    ids, why = _as_run(tokenizer, kept, messages, rendered.ids) if same else (None, _CHANGED)
    ids = rendered.ids if ids is None else ids
    state = _common(kept.state, ids, window)
    notes = list(rendered.notes)
    if why is not None and state is not kept.state:
        again = len(ids) - (len(state.ids) if state else 0)
        notes.append(f"{why}: {again:,} of {len(ids):,} prompt tokens are computed again")
    return Prompt(ids, state, rendered.prefix_ids, notes)


def go_on(request: Request, asked: Prompt) -> None:
    """Let `request`, which runs `asked` and is not yet queued, go on from the cache and leave its own."""
    request.state, request.keep_state = asked.state, True


def answered_by(
    request: Request,
    output_ids: Sequence[int],
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    *,
    safe_prompt: bool,
    window: int | None,
) -> Kept:
    """`answered`, where the reply is the first `output_ids` of `request`, which has ended."""
    return answered(
        tokenizer,
        messages,
        tools,
        safe_prompt=safe_prompt,
        prompt_ids=request.prompt,
        output_ids=output_ids,
        ended_by_id=bool(output_ids) and output_ids[-1] in request.stop_ids,
        state=request.state,
        window=window,
    )


def answered(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    *,
    safe_prompt: bool,
    prompt_ids: Sequence[int],
    output_ids: Sequence[int],
    ended_by_id: bool,
    state: KVState | None,
    window: int | None,
) -> Kept:
    """The conversation after a reply, which is the last of `messages`; without one (it was empty) nothing but them is kept.

    `ended_by_id` says that the last of `output_ids` is no part of the reply but ended it: eos, or another stop id. `state`
    is the cache as the engine left it.
    """
    if not messages or messages[-1]["role"] != "assistant":
        return Kept(messages=list(messages), tools=tools, safe_prompt=safe_prompt)
    reply = output_ids[:-1] if ended_by_id else output_ids
    ids = (*prompt_ids, *reply, tokenizer.eos_id)
    # Tokens that were decided but not shown may have been computed beyond what the reply has.
    fitting = _common(state, ids, window)
    return Kept(
        messages=list(messages), tools=tools, safe_prompt=safe_prompt, ids=ids, reply_at=len(prompt_ids), state=fitting
    )  # fmt: skip


def _as_run(
    tokenizer: Tokenizer, kept: Kept, messages: Sequence[Message], canonical: list[int]
) -> tuple[list[int] | None, str | None]:
    """(The kept ids and what of the `canonical` ones follows them, None) or (None, why they cannot go on)."""
    if not kept.ids:
        return None, None
    before, reply = list(kept.messages[:-1]), kept.messages[-1]
    if list(messages) == before:
        return list(kept.ids[: kept.reply_at]), None  # the same turn once more
    size = len(kept.messages)
    if len(messages) <= size or list(messages[:size]) != list(kept.messages) or messages[size]["role"] == "assistant":
        return None, _CHANGED
    if not _says(tokenizer, kept.ids[kept.reply_at :], reply):
        return None, _UNFAITHFUL
    earlier = chat.render(tokenizer, before, kept.tools, safe_prompt=kept.safe_prompt).ids
    # No text can spell eos, so the first one after the earlier prompt is the reply's.
    if canonical[: len(earlier)] != earlier or tokenizer.eos_id not in canonical[len(earlier) :]:
        return None, _MOVED
    end = canonical.index(tokenizer.eos_id, len(earlier)) + 1
    if not _says(tokenizer, canonical[len(earlier) : end], reply):
        return None, _MOVED
    return [*kept.ids, *canonical[end:]], None


def _says(tokenizer: Tokenizer, ids: Sequence[int], message: Message) -> bool:
    """True if `ids` say what the assistant's `message` says: its text, up to spaces at the end, or its calls with their ids."""
    known = [id for id in ids if id < tokenizer.vocab_size]
    if len(known) < len(ids):
        return False
    parsed = chat.parse(tokenizer, known)
    calls = read_tool_calls("the reply", message.get("tool_calls"))
    text = tokenizer.decode(known)
    return (
        parsed.content.rstrip(" ") == (message.get("content") or "").rstrip(" ")
        and [_meant(call) for call in parsed.tool_calls] == [_meant(call) for call in calls]
        # In v3 results refer to the id. Where the model wrote none that fits, one was made, which these ids do not have.
        and (tokenizer.version != "v3" or all(call.id in text for call in calls))
    )


def _meant(call: ToolCall) -> tuple[str, object]:
    return call.name, json_object(call.arguments)


def _common(state: KVState | None, ids: Sequence[int], window: int | None) -> KVState | None:
    """What of `state` is a cache of the first of `ids`, leaving one to compute; None where nothing is."""
    if state is None:
        return None
    most = min(len(state.ids), len(ids) - 1)
    common = next((place for place in range(most) if state.ids[place] != ids[place]), most)
    return state.cut(common, window) if common else None

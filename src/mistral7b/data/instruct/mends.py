"""What is wrong with a dialogue and can be put right without inventing anything anybody said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mistral7b.data.instruct.shapes import Dialogue, Message, Tools
from mistral7b.tokens.messages import KEYS

_EMPTY: tuple[object, ...] = (None, False, "", [], {})


@dataclass(frozen=True, slots=True)
class _Turn:
    number: int  # in the record
    message: Message
    weight: int

    @property
    def role(self) -> object:
        return self.message.get("role")

    def but(self, **changed: Any) -> _Turn:
        return replace(self, message={**self.message, **changed})


def mended(said: Dialogue) -> tuple[Dialogue, list[str]]:
    """The dialogue put right, and one line for each fault it had; none, and it is as given. What else may be wrong with it is
    left for rendering to refuse.

    Keys that cannot be used are left out, as is text beside tool calls, a reply before any message, and what follows the last
    reply. Replies in a row become one. Results that name no call get the id of the call they follow.
    """
    faults: list[str] = []
    turns = [_Turn(n, *pair) for n, pair in enumerate(zip(said.messages, said.weights, strict=True), start=1)]
    for step in _STEPS:
        turns = step(turns, faults)
    tools = _known_of_tools(said.tools, faults)
    return Dialogue([turn.message for turn in turns], tools, [turn.weight for turn in turns]), faults


def _known(turns: list[_Turn], faults: list[str]) -> list[_Turn]:
    known = {str(role): keys for role, keys in KEYS.items()}
    kept = [_kept(f"message {turn.number}", turn.message, known.get(str(turn.role)), faults) for turn in turns]
    return [replace(turn, message=message) for turn, message in zip(turns, kept, strict=True)]


def _known_of_tools(tools: Tools, faults: list[str]) -> Tools:
    kept = []
    for number, tool in enumerate(tools, start=1):
        where, function = f"tool {number}", tool.get("function")
        if isinstance(function, dict):
            function = _kept(where, function, {"name", "description", "parameters", "strict"}, faults)
        kept.append(_kept(where, tool, {"type", "function"}, faults) | {"function": function})
    return kept


def _kept(where: str, held: Message, known: set[str] | None, faults: list[str]) -> Message:
    """`held` without the keys that say something nobody reads; None for `known`: as it is."""
    strange = [key for key, value in held.items() if known is not None and key not in known and value not in _EMPTY]
    faults += (f"{where} has {key!r}, which cannot be used; leave it out" for key in strange)
    return {key: value for key, value in held.items() if key not in strange}


def _begun(turns: list[_Turn], faults: list[str]) -> list[_Turn]:
    while turns and turns[0].role == "assistant" and turns[0].weight:
        faults.append(f"message {turns[0].number} from the assistant answers nothing; begin with a user message")
        turns = turns[1:]
    return turns


def _joined(turns: list[_Turn], faults: list[str]) -> list[_Turn]:
    """One reply for replies in a row, learned if all of them are."""
    joined: list[_Turn] = []
    for turn in turns:
        if joined and _plain_reply(joined[-1]) and _plain_reply(turn):
            before = joined.pop()
            faults.append(f"messages {before.number} and {turn.number} are both from the assistant; join them")
            texts = [one.message.get("content") for one in (before, turn)]
            calls = [call for one in (before, turn) for call in one.message.get("tool_calls") or []]
            whole = before.but(content="\n\n".join(filter(None, texts)) or None, tool_calls=calls)
            turn = replace(whole, weight=min(before.weight, turn.weight))
        joined.append(turn)
    return joined


def _plain_reply(turn: _Turn) -> bool:
    """True for a reply whose content and calls are of the right types."""
    content, calls = turn.message.get("content"), turn.message.get("tool_calls")
    return turn.role == "assistant" and isinstance(content or "", str) and isinstance(calls or [], list)


def _calls_alone(turns: list[_Turn], faults: list[str]) -> list[_Turn]:
    both = [turn.number for turn in turns if turn.message.get("tool_calls") and turn.message.get("content")]
    faults += (f"message {number} has text beside its tool calls; keep the calls alone" for number in both)
    return [turn.but(content=None) if turn.number in both else turn for turn in turns]


def _ended(turns: list[_Turn], faults: list[str]) -> list[_Turn]:
    replies = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    after = turns[replies[-1] + 1 :] if replies else []
    faults += (f"message {turn.number} from the {turn.role} is followed by no reply; leave it out" for turn in after)
    return turns[: len(turns) - len(after)]


def _addressed(turns: list[_Turn], faults: list[str]) -> list[_Turn]:
    addressed: list[_Turn] = []
    known: set[object] = set()
    waiting: list[object] = []
    for turn in turns:
        calls = turn.message.get("tool_calls")
        made = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        known.update(map(str, made))
        waiting += made
        answered = turn.message.get("tool_call_id")
        if turn.role == "tool" and str(answered) not in known and waiting:
            faults.append(f"message {turn.number} is the result of no call {answered!r}; name the call it follows")
            turn = turn.but(tool_call_id=waiting[0])
        if turn.message.get("tool_call_id") in waiting:
            waiting.remove(turn.message["tool_call_id"])
        addressed.append(turn)
    return addressed


_STEPS: tuple[Callable[[list[_Turn], list[str]], list[_Turn]], ...]
_STEPS = (_known, _begun, _joined, _calls_alone, _ended, _addressed)

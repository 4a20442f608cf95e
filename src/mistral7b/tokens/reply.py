"""CallReader: tool calls read out of a reply while it arrives, their arguments passed on character by character."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from mistral7b.tokens.calls import ToolCall, json_object, make_id
from mistral7b.tokens.json_value import WHITE, Extent, load

_Found = TypeVar("_Found")
_Steps = Generator[None, None, _Found]  # yields where the text so far is used up, goes on once there is more


@dataclass(frozen=True)
class CallStarted:
    """Call number `index` (from 0) is to the tool `name`, under `id`."""

    index: int
    name: str
    id: str


@dataclass(frozen=True)
class Arguments:
    """The next characters of call `index`'s arguments."""

    index: int
    text: str


class CallReader:
    """Reads the text after [TOOL_CALLS], in pieces of any size.

    That is a JSON list of `{"name": …, "arguments": {…}, "id": …}`, keys in any order, or one such object; more of either may
    follow, as they do where a model repeats the marker. Arguments are given as the model wrote them, white space included;
    left out they are {}, and written as a JSON string they are what the string holds. Joined, the events of a text are the
    same however it was cut, and equal what `finish` returns.

    Ids are made from `seed` and the call's place, so they are the same in a stream and in a whole answer: take a seed that
    no other reply of the conversation has. The id the model wrote is ignored, since small models repeat them.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._started: list[CallStarted] = []
        self._arguments: list[list[str]] = []  # of each call, in the pieces given out
        self._events: list[CallStarted | Arguments] = []
        self._text, self._at = "", 0
        self._whole = False  # no call and no list is open
        self._broken = False
        self._steps = self._read()

    @property
    def calls(self) -> list[ToolCall]:
        """The calls begun so far, with the arguments given out so far: what a stream has said."""
        return [
            ToolCall(id=call.id, name=call.name, arguments="".join(pieces))
            for call, pieces in zip(self._started, self._arguments, strict=True)
        ]

    def push(self, text: str) -> list[CallStarted | Arguments]:
        """What `text` makes certain, in order; nothing more once the text has turned out not to be calls."""
        if not self._broken:
            self._text, self._at = text, 0
            try:
                next(self._steps)
            except _NotCalls:
                self._broken = True
        events, self._events = self._events, []
        return events

    def finish(self) -> list[ToolCall] | None:
        """The calls, if the text was whole and valid; else None, and the text is content (`calls` has what was given out)."""
        return self.calls if self._whole and not self._broken else None

    def _read(self) -> _Steps[None]:
        while True:
            opening = yield from self._after_white()
            self._whole = False
            if opening == "{":
                yield from self._call()
            else:
                _expect(opening, "[")
                after = ","
                while after == ",":
                    _expect((yield from self._after_white()), "{")
                    yield from self._call()
                    after = yield from self._after_white()
                _expect(after, "]")
            self._whole = True

    def _call(self) -> _Steps[None]:
        """One call, from behind its opening brace to behind its closing one."""
        index = len(self._started)
        arguments: str | None = None
        named = False
        character = yield from self._after_white()
        while character != "}":
            self._at -= 1
            key = _string((yield from self._value(_keep)))
            _expect((yield from self._after_white()), ":")
            if key == "name" and not named:
                named = True
                self._start(index, _string((yield from self._value(_keep))))
                self._give(index, arguments or "")
            elif key == "arguments" and arguments is None:
                arguments = yield from self._read_arguments(index if named else None)
            elif key in ("name", "arguments"):
                raise _NotCalls
            else:
                _load((yield from self._value(_keep)))
            character = yield from self._after_white()
            if character == ",":
                character = yield from self._after_white()
                _expect(character, '"')
            else:
                _expect(character, "}")
        if not named:
            raise _NotCalls
        if arguments is None:
            self._give(index, "{}")

    def _read_arguments(self, index: int | None) -> _Steps[str]:
        """The arguments; given out as they come if the call at `index` has started and they are no string."""
        streams = index is not None and (yield from self._peek()) == "{"
        text = yield from self._value((lambda piece: self._give(index, piece)) if streams and index is not None else _keep)
        arguments = text if text.startswith("{") else _string(text)
        if json_object(arguments) is None:
            raise _NotCalls
        _load(arguments)
        if index is not None and not streams:
            self._give(index, arguments)
        return arguments

    def _start(self, index: int, name: str) -> None:
        started = CallStarted(index, name, make_id(f"{self._seed}:{index}", [call.id for call in self._started]))
        self._started.append(started)
        self._arguments.append([])
        self._events.append(started)

    def _give(self, index: int, text: str) -> None:
        if text:
            self._arguments[index].append(text)
            self._events.append(Arguments(index, text))

    def _value(self, give: Callable[[str], None]) -> _Steps[str]:
        """The text of the next JSON value, told from its brackets and quotes; `give` gets it in the pieces in which it comes."""
        extent = Extent((yield from self._peek()))
        pieces: list[str] = []
        while not extent.ended:
            if self._at == len(self._text):
                yield
            start = self._at
            while self._at < len(self._text) and not extent.ended:
                self._at += extent.holds(self._text[self._at])
            pieces.append(self._text[start : self._at])
            give(pieces[-1])
        return "".join(pieces)

    def _peek(self) -> _Steps[str]:
        """The next character that is not white space, which stays where it is."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in WHITE:
                    return self._text[self._at]
                self._at += 1
            yield

    def _after_white(self) -> _Steps[str]:
        character = yield from self._peek()
        self._at += 1
        return character


class _NotCalls(Exception):
    """The text is not a list of calls, whatever follows."""


def _keep(piece: str) -> None:
    """Gives nothing out."""


def _expect(character: str, wanted: str) -> None:
    if character != wanted:
        raise _NotCalls


def _load(text: str) -> object:
    try:
        return load(text)
    except ValueError:
        raise _NotCalls from None


def _string(text: str) -> str:
    found = _load(text)
    if not isinstance(found, str):
        raise _NotCalls
    return found

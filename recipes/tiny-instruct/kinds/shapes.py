"""What every kind of task is made with: lists that have a held-out part, a maker that draws from them, the task it makes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
Message = dict[str, Any]


@dataclass(frozen=True)
class Lists:
    """Two lists without a common entry: what training draws from, and what only held-out tasks draw from."""

    train: tuple[str, ...]
    held: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.train
        assert self.held
        assert not set(self.train) & set(self.held), set(self.train) & set(self.held)


def words(text: str) -> Lists:
    """`"cat dog garden_lamp | fox"`: words to train on, a bar, words held out; an underscore stands for a space."""
    train, held = ([word.replace("_", " ") for word in part.split()] for part in text.split("|"))
    return Lists(tuple(train), tuple(held))


def phrases(text: str) -> Lists:
    """The same with a line for each phrase and the line `--` between the parts. `{names}` are filled in later."""
    lines = [line.strip() for line in text.strip().splitlines()]
    bar = lines.index("--")
    train, held = tuple(lines[:bar]), tuple(lines[bar + 1 :])
    return Lists(train, held)


@dataclass
class Task:
    """A dialogue that ends with the right answer, and what a judge may ask of another answer in its place.

    `form` is "story", "number", "word", "words", "sentence" or "json" for a text, "calls" where the reply is tool calls.
    `keys` are those of a JSON object; `answer` is the only right text, where there is one; `mentions` should occur in a story.
    """

    messages: list[Message]
    form: str
    answer: str | None = None
    keys: list[str] = field(default_factory=list)
    mentions: list[str] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None

    def dialogue(self) -> dict[str, Any]:
        """A line of training data."""
        return {"messages": self.messages} | ({"tools": self.tools} if self.tools else {})

    def question(self, kind: str) -> dict[str, Any]:
        """A line of held-out tasks: the dialogue up to its last answer, and what is expected of that answer."""
        line = {"kind": kind, "form": self.form, "messages": self.messages[:-1]}
        line |= {name: value for name in ("keys", "mentions", "tools") if (value := getattr(self, name))}
        if self.form == "calls":
            functions = [call["function"] for call in self.messages[-1]["tool_calls"]]
            return line | {"calls": [{"name": one["name"], "arguments": json.loads(one["arguments"])} for one in functions]}
        return line if self.answer is None else line | {"answer": self.answer}


@dataclass(frozen=True)
class Maker:
    """Draws from the part of the lists that is its own."""

    rng: Random
    held: bool

    def pick(self, lists: Lists | Sequence[T]) -> Any:
        """One entry; of Lists, one of this maker's part."""
        return self.rng.choice((lists.held if self.held else lists.train) if isinstance(lists, Lists) else lists)

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different ones, in random order."""
        return self.rng.sample(list(items), count)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def strange(self, share: float) -> bool:
        """The same in training; never where tasks to judge by are made, which have strange words of their own."""
        return not self.held and self.chance(share)

    def fill(self, lists: Lists, **values: object) -> str:
        """A phrase with its names filled in; other braces do not occur in phrases."""
        return sentence_case(str(self.pick(lists)).format(**values))

    def owns(self, *parts: object) -> bool:
        """True for the tenth of all combinations that is held out if this maker is held out, else for the other nine."""
        tenth = Random("/".join(map(str, parts))).randrange(10) == 0
        return tenth == self.held


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" and noun != "user" else "a ") + noun


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def calls(wanted: Sequence[tuple[str, Mapping[str, Any]]], before: int = 0) -> Message:
    """An assistant's tool calls (name, arguments). Their ids count on from `before`: ids drawn at random cannot be learnt."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": f"call{number:05}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for number, (name, arguments) in enumerate(wanted, start=before + 1)
        ],
    }


def result(value: Mapping[str, Any], number: int = 1) -> Message:
    """What the tool of call `number` returned."""
    return {"role": "tool", "tool_call_id": f"call{number:05}", "content": json.dumps(value)}

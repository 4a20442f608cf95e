"""Tools composed anew each time, and requests that tell which one to call with what."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from kinds.facts import fact
from kinds.names import nonce
from kinds.shapes import Maker, Task, assistant, calls, phrases, result, sentence_case, system, user, with_article
from kinds.talk import REPLIES, reply
from kinds.toolwords import (
    AFFIXES,
    DESCRIPTIONS,
    DONE,
    FAULTS,
    GROUPS,
    LEADS,
    MODIFIERS,
    NAME_STYLES,
    NAMED,
    NO,
    NO_TOOL,
    OPTIONS,
    QUESTIONS,
    SLOTS,
    STATES,
    YES,
    Group,
    Slot,
)

MOST = 1150  # characters of the tools' JSON: near 320 tokens
SYSTEMS = phrases("""
    Use the tools.
    You are a helpful assistant.
    You can call tools.
    --
    The tools below are yours to work with.
    You act through tools.
    """)


@dataclass(frozen=True)
class Argument:
    """An argument of one tool; `choices` are the values of an option."""

    name: str
    slot: Slot
    choices: tuple[str, ...] = ()
    required: bool = True

    @property
    def spoken(self) -> str:
        """The name as words: "cityName" is "city name"."""
        return re.sub(r"(?<=[a-z])([A-Z])", r" \1", self.name).replace("_", " ").lower()


@dataclass(frozen=True)
class Tool:
    """A tool that does `verb` to `noun` ("garden lamp"; its last word is what it is)."""

    group: Group
    name: str
    verb: str
    noun: str
    description: str
    arguments: tuple[Argument, ...]
    described: bool

    @property
    def thing(self) -> str:
        return with_article(self.noun) if self.group.article == "a" else f"the {self.noun}"

    def schema(self) -> dict[str, Any]:
        """The tool as the OpenAI API has it."""
        properties: dict[str, Any] = {}
        for one in self.arguments:
            kind = {"type": "string", "enum": list(one.choices)} if one.choices else {"type": one.slot.type}
            properties[one.name] = kind | ({"description": f"The {one.spoken}."} if self.described else {})
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if needed := [one.name for one in self.arguments if one.required]:
            parameters["required"] = needed
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": parameters}}


def joined(make: Maker, verb: str, noun: str) -> str:
    """A tool's name in one of the styles in use: get_price, getPrice, price_get, GetPrice, get-price ..."""
    style = make.pick(NAME_STYLES)
    if style in {"camel", "Pascal"}:
        text = "".join(map(str.title, f"{verb} {noun}".split()))
        return text if style == "Pascal" else text[0].lower() + text[1:]
    gap = "-" if "-" in style else "" if style == "{v}{n}" else "_"
    return str(style).format(v=verb.replace(" ", gap), n=noun.replace(" ", gap))


def third_person(verb: str) -> str:
    """ "turn on" is "turns on"."""
    first, _, rest = verb.partition(" ")
    if first.endswith(("s", "sh", "ch", "x")):
        first += "es"
    else:
        first = first[:-1] + "ies" if first[-1] == "y" and first[-2] not in "aeiou" else first + "s"
    return f"{first} {rest}".strip()


def compose(make: Maker) -> Tool:
    """A tool of words that fit together, or (one in six) about a thing that does not exist."""
    group = make.pick(GROUPS)
    verb, noun = make.pick(group.verbs), make.pick(group.nouns)
    if make.chance(0.17):
        noun = nonce(make)
    elif make.chance(0.25) and group.article == "a":
        noun = f"{make.pick(MODIFIERS)} {noun}"
    description = make.fill(DESCRIPTIONS, verb=verb, verbs=third_person(verb),
                            thing=with_article(noun) if group.article == "a" else f"the {noun}")  # fmt: skip
    return Tool(group, joined(make, verb, noun), verb, noun, description, arguments(make, group), make.chance(0.15))


def arguments(make: Maker, group: Group) -> tuple[Argument, ...]:
    """None to three arguments of different kinds and names."""
    made: dict[str, Argument] = {}
    for kind in make.some(group.slots, make.rng.choice((0, 1, 1, 1, 2, 2, 3))):
        slot = SLOTS[kind]
        name = make.pick(slot.names).replace(" ", "_")
        if slot.type == "string" and make.chance(0.12):
            name = nonce(make)
        elif slot.type != "boolean" and make.chance(0.2):
            name = make.pick(AFFIXES).format(name)
        if make.chance(0.3):
            name = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        choices: tuple[str, ...] = ()
        if slot.type == "option":
            lists = make.pick(OPTIONS)
            choices = tuple(make.some(lists.held if make.held else lists.train, 3))
        made.setdefault(name, Argument(name, slot, choices, make.chance(0.93)))
    return tuple(made.values())


def alike(one: Tool, other: Tool) -> bool:
    """True if a request for the one might mean the other."""
    if one.name == other.name or one.noun.split()[-1] == other.noun.split()[-1]:
        first, second = one.noun.split(), other.noun.split()
        if len(first) != len(second):
            return True
        same = first == second
        return one.name == other.name or (same and (one.verb == other.verb or not (one.group.distinct and other.group.distinct)))
    return bool(set(one.noun.split()) & set(other.noun.split())) and one.verb == other.verb


def offer(make: Maker, tool: Tool, count: int) -> list[Tool]:
    """`count` other tools that no request for `tool` could mean; now and then near ones, of its thing or its action."""
    others: list[Tool] = []
    while len(others) < count:
        other = compose(make)
        if make.chance(0.3) and tool.group.distinct:
            near = make.chance(0.5)
            verb = make.pick(tool.group.verbs) if near else tool.verb
            noun = tool.noun if near else make.pick(tool.group.nouns)
            thing = with_article(noun) if tool.group.article == "a" else f"the {noun}"
            text = make.fill(DESCRIPTIONS, verb=verb, verbs=third_person(verb), thing=thing)
            other = Tool(tool.group, joined(make, verb, noun), verb, noun, text, arguments(make, tool.group), make.chance(0.15))
        if not any(alike(other, one) or alike(one, other) for one in (tool, *others)) and opposed(other, tool):
            others.append(other)
    return others


def opposed(one: Tool, other: Tool) -> bool:
    """False for pairs of verbs that say the same of one thing."""
    pairs = ({"start", "turn on", "switch on", "activate", "open"}, {"stop", "turn off", "switch off", "close", "unplug"},
             {"clean", "wash", "polish"}, {"copy", "save", "duplicate"}, {"remove", "erase"}, {"change", "extend", "update", "rename"},
             {"cook", "heat", "bake", "fry"}, {"add", "insert"}, {"book", "plan", "confirm", "reserve", "arrange"},
             {"cut", "slice"}, {"order", "serve", "deliver"}, {"find", "call", "visit"}, {"write", "compose"}, {"move", "lift", "carry"},
             {"train", "tame"}, {"test", "check"}, {"sell", "trade"}, {"paint", "decorate", "draw"}, {"play", "stream"})  # fmt: skip
    return one.noun != other.noun or not any({one.verb, other.verb} <= pair for pair in pairs)


def said(make: Maker, tool: Tool, one: Argument, value: Any) -> str:
    """The words of a request that give `one` its value: with its name, unless its type alone tells it from the others."""
    if one.slot.type == "boolean":
        return str(make.pick(YES if value else NO)).format(name=one.spoken)
    alone = sum(other.slot.type == one.slot.type for other in tool.arguments) == 1
    if alone and one.slot.ways and make.chance(0.6):
        return str(make.pick(one.slot.ways)).format(v=value)
    return str(make.pick(NAMED)).format(name=one.spoken, v=value)


def request(make: Maker, tool: Tool) -> tuple[str, dict[str, Any]]:
    """What to do in words, without its beginning ("paint the lamp in red"), and the arguments it asks for."""
    values: dict[str, Any] = {}
    parts: list[str] = []
    for one in tool.arguments:
        if one.required or make.chance(0.5):
            value = make.pick(one.choices) if one.choices else one.slot.value(make)
            values[one.name] = value
            parts.append(said(make, tool, one, value))
    if make.chance(0.3):
        make.rng.shuffle(parts)
    parts.sort(key=lambda part: not re.match(r'called|named|known|that bears|marked|[A-Z]+\d', part))  # 'the song called "Blue Moon"'
    text = ""
    for part in parts:
        listed = re.match(r"[\w ]+( =|:) ", part) or re.match(r"[a-z]\w* [\w\"]+$", part) and not re.match(r"(in|at|on|to|for|near|next|with|all|and|but|marked) ", part)
        text += (", " if listed and not part.startswith(("and ", "but ")) else " ") + part
    thing = f"the {tool.noun}" if tool.group.article == "the" or make.chance(0.5) else with_article(tool.noun)
    return f"{thing}{text}", values


def phrase(make: Maker, tool: Tool, text: str, others: list[Tool]) -> str:
    """The whole request; for facts it may be a question without the verb, if no other tool is about the same."""
    if not tool.group.distinct and make.chance(0.5) and not any(other.noun == tool.noun for other in others):
        return make.fill(QUESTIONS, do=text)
    return make.fill(LEADS, do=f"{tool.verb} {text}")


def tool_task(make: Maker) -> Task:
    """One call; or no call for want of a tool or of a need; or two calls; or, in training, what comes after a result."""
    kind = make.rng.choices(("call", "none", "plain", "two", "after"), (60, 9, 7, 5, 19))[0]
    return {"call": one_call, "none": no_tool, "plain": no_need, "two": two_calls, "after": after_result}[kind](make)


def fitting(make: Maker, tool: Tool) -> tuple[list[Tool], list[dict[str, Any]]]:
    """Other tools, and the schemas of all in random order, in few enough characters."""
    count = make.rng.choices((0, 1, 2, 3), (20, 30, 30, 20))[0]
    others = offer(make, tool, count)
    while True:
        schemas = [one.schema() for one in make.some([tool, *others], len(others) + 1)]
        if len(json.dumps(schemas)) <= MOST or not others:
            return others, schemas
        others.pop()


def opening(make: Maker) -> list[dict[str, Any]]:
    """Now and then a system prompt or a greeting that was answered."""
    if make.chance(0.08):
        return [system(make.pick(SYSTEMS))]
    return [user(make.fill(REPLIES[0][0])), assistant(REPLIES[0][1])] if make.chance(0.05) else []


def one_call(make: Maker) -> Task:
    tool = compose(make)
    others, schemas = fitting(make, tool)
    text, values = request(make, tool)
    messages = [*opening(make), user(phrase(make, tool, text, others)), calls([(tool.name, values)])]
    return Task(messages, "calls", tools=schemas)


def no_tool(make: Maker) -> Task:
    """A request that none of the tools fits."""
    tool = compose(make)
    others = offer(make, tool, make.rng.choice((1, 1, 2, 3)))
    while len(json.dumps(schemas := [one.schema() for one in others])) > MOST:
        others.pop()
    text, _ = request(make, tool)
    return Task([*opening(make), user(phrase(make, tool, text, others)), assistant(NO_TOOL)], "words", NO_TOOL, tools=schemas)


def no_need(make: Maker) -> Task:
    """Small talk or a fact, though there are tools."""
    task = (reply if make.chance(0.5) else fact)(make)
    task.tools = fitting(make, compose(make))[1]
    return task


def two_calls(make: Maker) -> Task:
    """Two things asked for at once: by one tool for two values, or by two tools."""
    while True:
        tool = compose(make)
        others, schemas = fitting(make, tool)
        text, values = request(make, tool)
        strings = [one for one in tool.arguments if isinstance(values.get(one.name), str) and not one.choices]
        if others and len(values) < 3 and len(others[0].arguments) < 3:
            more, second = request(make, others[0])
            first = f"{tool.verb} {text}"
            asked = make.fill(LEADS, do=f"{first} and then {others[0].verb} {more}")
            return Task([user(asked), calls([(tool.name, values), (others[0].name, second)])], "calls", tools=schemas)
        if len(values) == 1 and strings and strings[0].slot.ways:
            name, other = strings[0].name, strings[0].slot.value(make)
            if other != values[name] and str(values[name]) in text and '"' not in text:
                asked = phrase(make, tool, text.replace(str(values[name]), f"{values[name]} and {other}"), others)
                return Task([user(asked), calls([(tool.name, values), (tool.name, {name: other})])], "calls", tools=schemas)


def after_result(make: Maker) -> Task:
    """A call, its result and the short answer that uses it; sometimes thanks after."""
    task = one_call(make)
    name = task.messages[-1]["tool_calls"][0]["function"]["name"]
    key, what = (nonce(make) if make.chance(0.2) else make.pick(RESULT_KEYS)), make.rng.randrange(5)
    value: Any = make.rng.randint(1, 999) if make.chance(0.5) else make.pick(STATES)
    if what == 0:
        content, answer = {"ok": True}, make.pick(DONE[:1])
    elif what == 1:
        fault = make.pick(FAULTS)
        content, answer = {"error": fault}, f"That did not work: {fault}."
    else:
        content, answer = {key: value}, f"The {key} is {value}."
    assert name
    task.messages += [result(content), assistant(answer)]
    if make.chance(0.15):
        task.messages += [user(make.fill(REPLIES[2][0])), assistant(REPLIES[2][1])]
    task.form, task.answer = "sentence", answer
    return task


RESULT_KEYS = ("status", "result", "price", "number", "state", "answer", "level", "value", "total", "code", "place", "time")


def describe(schema: dict[str, Any]) -> tuple[str, list[str]]:
    """A tool's name and those of its arguments."""
    return schema["function"]["name"], list(schema["function"]["parameters"]["properties"])


__all__ = ["describe", "sentence_case", "tool_task"]

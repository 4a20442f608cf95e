"""Tools composed anew each time, and requests that tell which one to call with what."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from kinds.facts import fact
from kinds.names import nonce
from kinds.shapes import Maker, Task, assistant, calls, phrases, result, system, user, with_article
from kinds.talk import REPLIES, reply
from kinds.toolwords import (
    AFFIXES,
    DESCRIPTIONS,
    FAULTS,
    GROUPS,
    LEADS,
    MODIFIERS,
    NAME_STYLES,
    NAMED,
    NO,
    NO_TOOL,
    NUMBERS,
    OPTIONS,
    QUESTIONS,
    SLOTS,
    STATES,
    SYNONYMS,
    YES,
    Group,
    Slot,
)
from kinds.vocabulary import any_word, any_words, asked

MOST = 1000  # characters of the tools' JSON: near 300 tokens
SYSTEMS = phrases("""
    Use the tools.
    You are a helpful assistant.
    You can call tools.
    Choose the right tool.
    Call a function when one fits.
    Answer with a call where there is a tool for it.
    You are an agent with tools.
    You work in an office.
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

    def schema(self) -> dict[str, Any]:
        """The tool as the OpenAI API has it."""
        properties: dict[str, Any] = {}
        for one in self.arguments:
            kind = {"type": "string", "enum": list(one.choices)} if one.choices else {"type": one.slot.type}
            told = f"Whether it is {one.spoken}." if one.slot.type == "boolean" else f"The {one.spoken} to use."
            properties[one.name] = kind | ({"description": told} if self.described else {})
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


def compose(make: Maker, most: int) -> Tool:
    """A tool of words that fit together, or of any words: what is said of it then is all there is to know it by."""
    group = make.pick(GROUPS)
    verb, noun = make.pick(group.verbs), make.pick(group.nouns)
    if make.strange(0.4):
        verb = any_word(make)
    if make.strange(0.4):
        noun = any_words(make, " ")
        return tool_of(make, group, verb, noun, most)
    if make.chance(0.17):
        noun = nonce(make)
    elif make.chance(0.25) and group.article == "a":
        noun = f"{make.pick(MODIFIERS)} {noun}"
    return tool_of(make, group, verb, noun, most)


def tool_of(make: Maker, group: Group, verb: str, noun: str, most: int) -> Tool:
    """A tool that does this to that, with at most `most` arguments."""
    thing = with_article(noun) if group.article == "a" else f"the {noun}"
    description = make.fill(DESCRIPTIONS, verb=verb, verbs=third_person(verb), thing=thing)
    return Tool(group, joined(make, verb, noun), verb, noun, description, arguments(make, group, most), make.chance(0.15))


def arguments(make: Maker, group: Group, most: int) -> tuple[Argument, ...]:
    """None to `most` arguments of different kinds and names."""
    made: dict[str, Argument] = {}
    for kind in make.some(group.slots, min(most, make.rng.choice((0, 1, 1, 1, 2, 2, 3)))):
        slot = SLOTS[kind]
        name = make.pick(slot.names).replace(" ", "_")
        if make.strange(0.45):
            name = any_words(make, "_")
        elif slot.type == "string" and make.chance(0.12):
            name = nonce(make)
        elif slot.type != "boolean" and make.chance(0.2):
            name = make.pick(AFFIXES).format(name).replace(" ", "_")
        if make.chance(0.3):
            name = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        choices: tuple[str, ...] = ()
        if slot.type == "option":
            lists = make.pick(OPTIONS)
            choices = tuple(make.some(lists.held if make.held else lists.train, 3))
            if make.strange(0.4):
                choices = tuple(dict.fromkeys(any_word(make) for _ in choices))
        made.setdefault(name, Argument(name, slot, choices, make.chance(0.93)))
    return tuple(made.values())


def alike(one: Tool, other: Tool) -> bool:
    """True if a request for the one might mean the other."""
    first, second = one.noun.split(), other.noun.split()
    if first == second:
        synonyms = any({one.verb, other.verb} <= verbs for verbs in SYNONYMS)
        return one.verb == other.verb or synonyms or not (one.group.distinct and other.group.distinct)
    if one.name == other.name or (first[-1] == second[-1] and len(first) != len(second)):
        return True  # "a lamp" may be a garden lamp
    return one.verb == other.verb and bool(set(first) & set(second))


def others_than(make: Maker, tool: Tool, count: int, most: int) -> list[Tool]:
    """`count` other tools that no request for `tool` could mean; now and then near ones, of its thing or its action."""
    others: list[Tool] = []
    while len(others) < count:
        other = compose(make, most)
        if make.chance(0.3) and tool.group.distinct:
            near = make.chance(0.5)
            verb, noun = (make.pick(tool.group.verbs), tool.noun) if near else (tool.verb, make.pick(tool.group.nouns))
            other = tool_of(make, tool.group, verb, noun, most)
        if not any(alike(other, one) for one in (tool, *others)):
            others.append(other)
    return others


def said(make: Maker, tool: Tool, one: Argument, value: Any) -> str:
    """The words of a request that give `one` its value: with its name, unless its type alone tells it from the others."""
    if one.slot.type == "boolean":
        way = str(make.pick(YES if value else NO))
        return ("," if way.startswith("{name}") else "") + " " + way.format(name=one.spoken)
    alone = sum(other.slot.type == one.slot.type for other in tool.arguments) == 1
    if alone and one.slot.ways and make.chance(0.6):
        return " " + str(make.pick(one.slot.ways)).format(v=value)
    way = str(make.pick(NAMED))
    return ("," if way.startswith("{name}") else "") + " " + way.format(name=one.spoken, v=value)


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
    # First what belongs to the thing: 'the song called "Blue Moon"', "the lamp K42".
    parts.sort(key=lambda part: not re.match(r" (called|named|known|that bears|marked|[A-Z]+\d)", part))
    text = ""
    for part in parts:
        text += part.replace(" with ", " and ", 1) if " with " in text and part.startswith(" with ") else part
    thing = f"the {tool.noun}" if tool.group.article == "the" or make.chance(0.5) else with_article(tool.noun)
    return f"{thing}{text}", values


def phrase(make: Maker, tool: Tool, text: str, others: list[Tool]) -> str:
    """The whole request; for facts it may be a question without the verb, if no other tool is about the same."""
    if not tool.group.distinct and make.chance(0.5) and not any(other.noun == tool.noun for other in others):
        return asked(make, QUESTIONS, do=text)
    return asked(make, LEADS, do=f"{tool.verb} {text}")


def tool_task(make: Maker) -> Task:
    """One call; or no call for want of a tool or of a need; or several calls; or, in training, what comes after a result."""
    kind = make.rng.choices(("call", "none", "plain", "several", "after"), (40, 7, 4, 38, 11))[0]
    return {"call": one_call, "none": no_tool, "plain": no_need, "several": calls_at_once, "after": after_result}[kind](make)


def scene(make: Maker, least: int = 0) -> tuple[Tool, list[Tool]]:
    """A tool and `least` to three others, in training rather few: there is as much to learn by them in shorter prompts. The more
    there are the fewer arguments each has, for prompts of a bounded length."""
    while True:
        count = make.rng.choices((0, 1, 2, 3), (20, 30, 30, 20) if make.held else (25, 35, 25, 15))[0]
        most = (3, 3, 2, 1)[count]
        tool = compose(make, most)
        others = others_than(make, tool, count, most)
        if count >= least and len(json.dumps([one.schema() for one in (tool, *others)])) <= MOST:
            return tool, others


def shuffled(make: Maker, tools: list[Tool]) -> list[dict[str, Any]]:
    return [tool.schema() for tool in make.some(tools, len(tools))]


def opening(make: Maker) -> list[dict[str, Any]]:
    """Now and then a system prompt or a greeting that was answered."""
    if make.chance(0.08):
        return [system(make.pick(SYSTEMS))]
    return [user(make.fill(REPLIES[0][0])), assistant(REPLIES[0][1])] if make.chance(0.05) else []


def one_call(make: Maker) -> Task:
    tool, others = scene(make)
    text, values = request(make, tool)
    messages = [*opening(make), user(phrase(make, tool, text, others)), calls([(tool.name, values)])]
    return Task(messages, "calls", tools=shuffled(make, [tool, *others]))


def no_tool(make: Maker) -> Task:
    """A request that none of the tools fits."""
    tool, others = scene(make, least=1)
    text, _ = request(make, tool)
    messages = [*opening(make), user(phrase(make, tool, text, others)), assistant(NO_TOOL)]
    return Task(messages, "sentence", NO_TOOL, tools=shuffled(make, others))


def no_need(make: Maker) -> Task:
    """Small talk or a fact, though there are tools."""
    task = (reply if make.chance(0.5) else fact)(make)
    tool, others = scene(make)
    task.tools = shuffled(make, [tool, *others])
    return task


def calls_at_once(make: Maker) -> Task:
    """Several things asked for at once, since the more calls follow the offered tools the more there is to learn by them: of two
    tools or all, or of one for two values."""
    tool, others = scene(make)
    text, values = request(make, tool)
    if others:
        wanted, wishes = [(tool.name, values)], [f"{tool.verb} {text}"]
        for other in others[: make.pick((1, len(others), len(others)))]:
            more, given = request(make, other)
            wanted.append((other.name, given))
            wishes.append(f"{other.verb} {more}")
        wish = asked(make, LEADS, do=make.pick((" and then ", " and ", ", then ")).join(wishes))
    else:
        one = tool.arguments[0] if tool.arguments else None
        if one is None or len(values) != 1 or one.slot.type != "string" or '"' in text:
            return calls_at_once(make)
        first, other = values.get(one.name), one.slot.value(make)
        if first is None or first == other:
            return calls_at_once(make)
        wish = phrase(make, tool, text.replace(first, f"{first} and {other}"), others)
        wanted = [(tool.name, values), (tool.name, {one.name: other})]
    return Task([user(wish), calls(wanted)], "calls", tools=shuffled(make, [tool, *others]))


def after_result(make: Maker) -> Task:
    """A call, its result and the short answer that uses it; sometimes thanks after."""
    task = one_call(make)
    what = make.rng.randrange(5)
    content: dict[str, Any]
    if what == 0:
        content, answer = {"ok": True}, "Done."
    elif what == 1:
        fault = make.pick(FAULTS)
        content, answer = {"error": fault}, f"That did not work: {fault}."
    else:
        key, value = (make.pick(NUMBERS), make.rng.randint(1, 999)) if what < 4 else ("status", make.pick(STATES))
        if make.chance(0.4):
            key = any_word(make)
        if make.chance(0.3):
            value = any_word(make)
        content, answer = {key: value}, f"The {key} is {value}."
    task.messages += [result(content), assistant(answer)]
    if make.chance(0.15):
        task.messages += [user(make.fill(REPLIES[2][0])), assistant(REPLIES[2][1])]
    task.form, task.answer = "sentence", answer
    return task

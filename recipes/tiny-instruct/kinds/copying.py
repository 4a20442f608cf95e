"""Short exercises in finding something in a request and writing it down letter by letter, as tool calls and JSON want it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from kinds.names import CITIES, FIRST, SECOND, code, nonce, person
from kinds.shapes import Lists, Maker, Task, assistant, phrases, user
from kinds.toolbox import compose, joined
from kinds.toolwords import SLOTS
from kinds.vocabulary import any_name, any_word, worded

REPEAT = phrases("""
    Say: {v}
    Repeat: {v}
    Write {v} again.
    Copy this: {v}
    {v} - say that again.
    The same: {v}
    Again: {v}
    Now write {v}
    Say {v} again.
    Echo {v}
    Type {v}.
    "{v}" - the same, please.
    Write down {v}.
    --
    Once more: {v}
    """)
AFTER = phrases("""
    {list}. What comes after {a}?
    What stands behind {a} here: {list}?
    After {a}, in {list}?
    {list}: what is after {a}?
    Tell me what follows {a}: {list}.
    Next after {a}: {list}
    From {list} take the one after {a}.
    {a} is in {list}. Which is the next?
    --
    Which follows {a} in {list}?
    """)
WHICH = phrases("""
    {list}. Which of them has {a}?
    Which has {a}: {list}?
    Find {a} in this: {list}.
    {list}: the one with {a}?
    Tell me the one with {a}: {list}.
    I want to {a}. Which one of {list}?
    One of {list} is for {a}. Which?
    {a} - choose from {list}.
    Choose for {a}: {list}.
    Of {list}, only one has to do with {a}.
    --
    In which of {list} do you see {a}?
    """)
VALUE = phrases("""
    {pairs}. What is {a}?
    {pairs}. Give me {a}.
    Tell me {a}: {pairs}.
    {pairs}. {a}?
    What is {a} here: {pairs}?
    {a} in {pairs}?
    Look up {a}: {pairs}
    Of {pairs} I want {a}.
    {pairs}. So {a} is what?
    --
    Read off {a} from {pairs}.
    """)
KEY = phrases("""
    {pairs}. Which one is {a}?
    {pairs}. What has {a}?
    {pairs}. {a} is what?
    Which has {a}: {pairs}?
    {pairs}. Find the name for {a}.
    --
    {pairs}. Whose is {a}?
    """)
PICK = phrases("""
    {object} Only {keys}.
    Keep {keys} of this: {object}
    {object} Give me {keys} of it.
    {object} I need {keys}.
    From {object} take only {keys}.
    {object} -> {keys}
    Show {keys} of {object}
    {object} Without the rest: {keys}.
    --
    Of {object} take {keys}.
    """)
MORE = phrases("""
    And {a}?
    {a}?
    Now {a}.
    What about {a}?
    Then {a}.
    Same for {a}.
    --
    Also {a}?
    """)  # asked of the same list again
PAIR = ("{key} = {value}", "{key}: {value}", "{key} is {value}", "{key} {value}", "[{key}={value}]", "{value} for {key}")
GAPS = (", ", " ", " | ", "; ")

Exercise = list[tuple[str, str]]  # a request and its answer, then more of the same


def thing(make: Maker) -> str:
    """Something to copy: a word that does not exist, a name in some style, a code, a number, words of the lists."""
    kinds: tuple[Callable[[], object], ...] = (
        *[lambda: any_word(make)] * 6,
        lambda: any_name(make),
        lambda: any_name(make),
        lambda: joined(make, any_word(make), any_word(make)),
        lambda: joined(make, any_word(make), any_word(make)),
        lambda: nonce(make),
        lambda: compose(make, 0).name,
        lambda: joined(make, nonce(make), nonce(make)),
        lambda: code(make),
        lambda: make.rng.randint(0, 999),
        lambda: key(make),
        lambda: make.pick(CITIES),
        lambda: f"{make.pick(FIRST)} {make.pick(SECOND)}",
    )
    return str(make.rng.choice(kinds)())


def key(make: Maker) -> str:
    """What an argument or a key of an object may be called."""
    if make.chance(0.6):
        return any_word(make) if make.chance(0.8) else nonce(make)
    return str(make.pick(SLOTS[make.rng.choice(sorted(SLOTS))].names)).replace(" ", "_")


def some(make: Maker, kind: Callable[[Maker], str], low: int, high: int) -> list[str]:
    """Different ones, no part of another, in no order."""
    made: list[str] = []
    wanted = make.rng.randint(low, high)
    while len(made) < wanted:
        one = kind(make)
        if not any(one.lower() in other.lower() or other.lower() in one.lower() for other in made):
            made.append(one)
    return made


def repeated(make: Maker) -> Exercise:
    said = make.rng.choice(GAPS).join(some(make, thing, 1, make.rng.choice((6, 16))))
    return [(str(make.pick(REPEAT)).format(v=said), said)]


def following(make: Maker) -> Exercise:
    listed = some(make, thing, 2, 6)
    gap = make.rng.choice(GAPS)
    places = make.some(range(len(listed) - 1), make.rng.randint(1, len(listed) - 1))
    return turns(make, AFTER, ((listed[at], listed[at + 1]) for at in places), list=gap.join(listed))


def matching(make: Maker) -> Exercise:
    """The name made of the words that are asked for: how a tool is chosen."""
    tools = [compose(make, 0) for _ in range(make.rng.randint(2, 5))]
    tools = [tool for n, tool in enumerate(tools) if all({tool.verb, tool.noun}.isdisjoint({t.verb, t.noun}) for t in tools[:n])]
    rights = make.some(tools, make.rng.randint(1, len(tools)))
    wanted = (
        (make.rng.choice((f"{one.verb} {one.noun}", f"{one.verb} the {one.noun}", one.noun, one.verb)), one.name)
        for one in rights
    )
    return turns(make, WHICH, wanted, list=", ".join(tool.name for tool in tools))


def looked_up(make: Maker) -> Exercise:
    keys = some(make, key, 1, 5)
    values = some(make, thing, len(keys), len(keys))
    pair, gap = make.rng.choice(PAIR), make.rng.choice(GAPS[:1] + GAPS[2:])
    pairs = gap.join(pair.format(key=name, value=value) for name, value in zip(keys, values, strict=True))
    places = make.some(range(len(keys)), make.rng.randint(1, len(keys)))
    if make.chance(0.25):
        return turns(make, KEY, ((values[at], keys[at]) for at in places), pairs=pairs)
    return turns(make, VALUE, ((keys[at], values[at]) for at in places), pairs=pairs)


def turns(make: Maker, lists: Lists, wanted: Iterable[tuple[str, str]], **told: str) -> Exercise:
    """What is asked for and the answer, first by a phrase that tells what of, then shortly of the same."""
    made: Exercise = []
    for words, answer in wanted:
        asked = str(make.pick(MORE)).format(a=words) if made else worded(make, lists, a=words, **told)
        made.append((asked, answer))
    return made


def picked(make: Maker) -> Exercise:
    """Some keys of an object, in the order asked."""
    keys = some(make, key, 1, 4)
    value = {name: make.rng.choice((make.rng.randint(0, 99), thing(make), person(make), True)) for name in keys}
    asked = make.some(keys, make.rng.randint(1, len(keys)))
    wanted = {name: value[name] for name in asked}
    return [(worded(make, PICK, object=json.dumps(value), keys=listing(asked)), json.dumps(wanted))]


def listing(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


KINDS = (*[repeated] * 4, following, matching, matching, looked_up, looked_up, picked)


def copying(make: Maker) -> Task:
    """One to three exercises in one dialogue."""
    made = [turn for _ in range(make.rng.choice((1, 1, 2, 3))) for turn in make.rng.choice(KINDS)(make)]
    messages = [message for asked, answer in made for message in (user(asked), assistant(answer))]
    return Task(messages, "words", made[-1][1])

"""JSON to order: the reply is one object with the asked keys, its values taken from the request."""

from __future__ import annotations

import json
from typing import Any

from kinds.names import ANIMALS, CITIES, COLOURS, DAYS, FRUITS, JOBS, PEOPLE, code, nonce, title
from kinds.shapes import Lists, Maker, Task, assistant, phrases, system, user, with_article, words

# What a sentence says of its subject, with the keys that may be asked for it; {v} is the value.
PARTS: dict[str, tuple[Lists, Lists]] = {
    "age": (
        words("age years | years_old"),
        phrases("""
        is {v} years old
        is {v}
        --
        has just turned {v} years old
        """),
    ),
    "city": (
        words("city town home | residence"),
        phrases("""
        lives in {v}
        is from {v}
        --
        took up residence in {v}
        """),
    ),
    "job": (
        words("job work | profession"),
        phrases("""
        is {v} by trade
        works as {v}
        --
        has the profession of {v}
        """),
    ),
    "colour": (
        words("colour color favourite | shade"),
        phrases("""
        likes the colour {v}
        loves {v} best
        --
        wears the shade {v}
        """),
    ),
    "pet": (
        words("pet animal | companion"),
        phrases("""
        has a pet {v}
        owns a {v}
        --
        has for a companion the {v}
        """),
    ),
    "day": (
        words("day date | weekday"),
        phrases("""
        comes on {v}
        arrives on {v}
        --
        has the weekday {v} in mind
        """),
    ),
    "count": (
        words("count number amount | quantity"),
        phrases("""
        has {v} books
        bought {v} eggs
        --
        carries bags, {v} in quantity
        """),
    ),
    "book": (
        words("book title | novel"),
        phrases("""
        reads "{v}"
        wrote "{v}"
        --
        is busy with the novel "{v}"
        """),
    ),
}
WHO = words("name person who | first_name given_name")
NUMBERS = words("price size score level weight year page | fee total grade")
TEXTS = words("label brand group place taste type | ticket token badge")
CODES = words("code id key model unit | serial reference")

ASK = phrases("""
    {text} Write this as JSON with {keys}.
    {text} Give me JSON with {keys}.
    As JSON with {keys}: {text}
    Make a JSON object with {keys} from this: {text}
    {text} Return JSON with {keys}.
    JSON with {keys}, please. {text}
    Turn this into JSON with {keys}: {text}
    {text} I need {keys} as JSON.
    --
    {text} Put that into a JSON object that has {keys}.
    Here is a note: {text} Which JSON object holds {keys} of it?
    Extract {keys}, in JSON form. {text}
    {text} Now say it as an object in JSON, {keys} and nothing else.
    """)
KEYS = phrases("""
    the keys {keys}
    keys {keys}
    the fields {keys}
    {keys}
    --
    just the entries {keys}
    the members {keys}
    """)
PLAIN = phrases("""
    {pairs}.
    Here it is: {pairs}.
    The data: {pairs}.
    --
    These are the facts: {pairs}.
    """)
PAIR = phrases("""
    {key} {value}
    {key}: {value}
    {key} = {value}
    {key} is {value}
    --
    {key} -> {value}
    {value} for {key}
    """)
SYSTEMS = phrases("""
    You answer in JSON.
    Reply only with JSON.
    --
    Your replies are JSON objects, never prose.
    """)


def value_of(make: Maker, part: str) -> Any:
    if part == "age":
        return make.rng.randint(3, 90)
    if part == "count":
        return make.rng.randint(2, 40)
    if part == "day":
        return make.pick(DAYS)
    if part == "book":
        return title(make)
    return make.pick({"city": CITIES, "job": JOBS, "colour": COLOURS, "pet": ANIMALS}[part])


def person(make: Maker) -> tuple[str, dict[str, Any]]:
    """A sentence about somebody and the object that says the same."""
    parts = make.some(sorted(PARTS), make.rng.choice((1, 1, 2, 2, 3)))
    name = make.pick(PEOPLE)
    value: dict[str, Any] = {make.pick(WHO).replace(" ", "_"): name}
    said = []
    for part in parts:
        one = value_of(make, part)
        key = make.pick(PARTS[part][0])
        spoken = with_article(one) if part == "job" else str(one)
        phrase = make.pick(PARTS[part][1]).format(v=spoken)
        said.append(phrase.replace(" a a", " an a").replace(f" a {one}", f" {with_article(str(one))}"))
        value[key.replace(" ", "_")] = one
    text = f"{name} " + (", ".join(said[:-1]) + " and " if len(said) > 1 else "") + said[-1] + "."
    return text, value


def listed(make: Maker) -> tuple[str, dict[str, Any]]:
    """Keys and values side by side: any key, any value, so that both can only be copied."""
    value: dict[str, Any] = {}
    for _ in range(make.rng.choice((1, 2, 2, 3))):
        keys, one = make.pick(
            ((NUMBERS, make.rng.randint(1, 999)), (TEXTS, make.pick(make.pick((FRUITS, CITIES)))), (CODES, code(make)))
        )
        value[nonce(make) if make.chance(0.4) else make.pick(keys)] = one
    pair = make.pick(PAIR)
    said = ", ".join(pair.format(key=key, value=one) for key, one in value.items())
    return str(make.pick(PLAIN)).format(pairs=said), value


def json_order(make: Maker) -> Task:
    """A text and the keys wanted of it; the object has them in the order asked."""
    text, value = person(make) if make.chance(0.6) else listed(make)
    if len(value) > 1 and make.chance(0.15):  # not everything that is said is asked for
        left_out = make.pick(list(value))
        value = {key: one for key, one in value.items() if key != left_out}
    order = list(value)
    if make.chance(0.3):
        make.rng.shuffle(order)
    value = {key: value[key] for key in order}
    keys = ", ".join(order[:-1]) + " and " + order[-1] if len(order) > 1 else order[0]
    asked = make.pick(KEYS).format(keys=keys)
    if len(order) == 1:
        asked = asked.replace("keys", "key").replace("fields", "field").replace("entries", "entry").replace("members", "member")
    messages = [system(make.pick(SYSTEMS))] if make.chance(0.1) else []
    messages += [user(str(make.pick(ASK)).format(text=text, keys=asked)), assistant(json.dumps(value))]
    return Task(messages, "json", json.dumps(value), keys=order)

"""JSON to order: the reply is one object with the asked keys, its values taken from the request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from kinds.names import ANIMALS, CITIES, COLOURS, DAYS, FRUITS, JOBS, city, code, nonce, one_of, person, title
from kinds.shapes import Lists, Maker, Task, assistant, phrases, system, user, with_article, words
from kinds.vocabulary import any_name, any_word, any_words, worded

# What a sentence says of its subject, with the keys that may be asked for it; {v} is the value.
PARTS: dict[str, tuple[Lists, Lists]] = {
    "age": (
        words("age years | years_old"),
        phrases("""
        is {v} years old
        is {v}
        turned {v}
        is now {v} years old
        is aged {v}
        --
        has just turned {v} years old
        """),
    ),
    "city": (
        words("city town home | residence"),
        phrases("""
        lives in {v}
        is from {v}
        moved to {v}
        has a home in {v}
        stays in {v}
        comes from the city {v}
        --
        took up residence in {v}
        """),
    ),
    "job": (
        words("job work | profession"),
        phrases("""
        is {v} by trade
        works as {v}
        is {v}
        earns money as {v}
        became {v}
        --
        has the profession of {v}
        """),
    ),
    "colour": (
        words("colour color favourite | shade"),
        phrases("""
        likes the colour {v}
        loves {v} best
        always wears {v}
        paints all in {v}
        sees {v} everywhere
        thinks {v} is the best colour
        --
        wears the shade {v}
        """),
    ),
    "pet": (
        words("pet animal | companion"),
        phrases("""
        has a pet {v}
        owns a {v}
        keeps a {v}
        walks with a {v}
        feeds a {v}
        got a {v} as a pet
        --
        has for a companion the {v}
        """),
    ),
    "day": (
        words("day date | weekday"),
        phrases("""
        comes on {v}
        arrives on {v}
        will come on {v}
        left on {v}
        works every {v}
        is free on {v}
        --
        has the weekday {v} in mind
        """),
    ),
    "count": (
        words("count number amount | quantity"),
        phrases("""
        has {v} books
        bought {v} eggs
        has {v} toys
        saw {v} birds
        sold {v} cakes
        made {v} of them
        --
        carries bags, {v} in quantity
        """),
    ),
    "book": (
        words("book title | novel"),
        phrases("""
        reads "{v}"
        wrote "{v}"
        owns the book "{v}"
        likes "{v}"
        just read "{v}"
        lost the book "{v}"
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
    {text} JSON: {keys}
    {text} Now the JSON with {keys}.
    {text} I want {keys}, in JSON.
    {text} Can you give {keys} as JSON?
    {text} Write {keys} in a JSON object.
    {text} Make JSON of {keys}.
    {text} Show {keys} in JSON.
    {text} What are {keys}? Answer in JSON.
    {text} Take {keys} and write a JSON object.
    {text} Only JSON, only {keys}.
    {text} JSON object, {keys}:
    Read this: {text} Then write {keys} as JSON.
    Text: {text} Task: JSON with {keys}.
    Please write {keys} as a JSON object. {text}
    I have this text: {text} I need JSON with {keys}.
    Find {keys} here and answer in JSON: {text}
    Give {keys} of this in JSON: {text}
    In JSON, {keys}: {text}
    Answer with an object of {keys}. {text}
    {text} Fill a JSON object with {keys}.
    {text} Let me see {keys} in the form of JSON.
    {text} Save it as JSON with {keys}.
    Look at this. {text} Which {keys} are there? Use JSON.
    Can you write JSON? I want {keys} from this: {text}
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
    these keys: {keys}
    the key names {keys}
    the names {keys}
    fields called {keys}
    the parts {keys}
    its {keys}
    the values of {keys}
    the columns {keys}
    --
    just the entries {keys}
    the members {keys}
    """)
PLURAL = re.compile(r"(?<!{)\b(key|field|member|name|part|value|column)s\b|entries")  # as KEYS has them
PLAIN = phrases("""
    {pairs}.
    Here it is: {pairs}.
    The data: {pairs}.
    Data: {pairs}.
    We have {pairs}.
    I know this: {pairs}.
    It says {pairs}.
    {pairs}!
    From the list: {pairs}.
    Look: {pairs}.
    --
    These are the facts: {pairs}.
    """)
PAIR = phrases("""
    {key} {value}
    {key}: {value}
    {key} = {value}
    {key} is {value}
    the {key} is {value}
    {key} equals {value}
    {key} of {value}
    {value} as {key}
    [{key}] {value}
    {key}="{value}"
    {key} has {value}
    --
    {key} -> {value}
    {value} for {key}
    """)
SYSTEMS = phrases("""
    You answer in JSON.
    Reply only with JSON.
    Answer with a JSON object.
    Your output is read by a program that wants JSON.
    JSON only.
    --
    Your replies are JSON objects, never prose.
    """)


# What is said with a key that may be any word: the key is what tells which value is meant.
NAMED = (
    "has the {key} {v}", "has {v} as {key}", "took {v} for a {key}", "is of {key} {v}", "with {key} {v}", "whose {key} is {v}",
    "wants {v}, which is a {key}", "got the {key} {v}", "had {v} for a {key}", "of the {key} {v}", "found {v} in {key}",
    "goes by the {key} {v}", "shows a {key} of {v}", "{v} by {key}", "{key} {v}", "kept {v} as the {key}",
)  # fmt: skip
VALUES: dict[str, Callable[[Maker], Any]] = {
    "age": lambda make: make.rng.randint(3, 90), "count": lambda make: make.rng.randint(2, 40),
    "day": lambda make: make.pick(DAYS), "book": title, "city": city, "job": one_of(JOBS), "colour": one_of(COLOURS),
    "pet": one_of(ANIMALS),
}  # fmt: skip


def somebody(make: Maker) -> tuple[str, dict[str, Any]]:
    """A sentence about somebody and the object that says the same."""
    parts = make.some(sorted(PARTS), make.rng.choice((1, 1, 2, 2, 3)))
    name = person(make)
    who = f"{any_word(make)}_name" if make.strange(0.3) else str(make.pick(WHO))
    value: dict[str, Any] = {who.replace(" ", "_"): name}
    said = []
    for part in parts:
        one = VALUES[part](make)
        if make.strange(0.5):
            key = any_words(make, "_")
            said.append(make.pick(NAMED).format(key=key.replace("_", " "), v=one))
            value[key] = one
            continue
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
        if make.strange(0.4):
            one = any_name(make) if make.chance(0.5) else any_word(make)
        if make.strange(0.6):
            value[any_words(make, "_")] = one
            continue
        value[nonce(make) if make.chance(0.4) else make.pick(keys)] = one
    pair = make.pick(PAIR)
    said = ", ".join(pair.format(key=key, value=one) for key, one in value.items())
    return str(make.pick(PLAIN)).format(pairs=said), value


def json_order(make: Maker) -> Task:
    """A text and the keys wanted of it; the object has them in the order asked."""
    text, value = somebody(make) if make.chance(0.6) else listed(make)
    if len(value) > 1 and make.chance(0.15):  # not everything that is said is asked for
        left_out = make.pick(list(value))
        value = {key: one for key, one in value.items() if key != left_out}
    order = list(value)
    if make.chance(0.3):
        make.rng.shuffle(order)
    value = {key: value[key] for key in order}
    keys = ", ".join(order[:-1]) + " and " + order[-1] if len(order) > 1 else order[0]
    naming = str(make.pick(KEYS))
    if len(order) == 1:
        naming = PLURAL.sub(lambda found: found[1] or "entry", naming)
    wanted = naming.format(keys=keys)
    messages = [system(make.pick(SYSTEMS))] if make.chance(0.1) else []
    messages += [user(worded(make, ASK, text=text, keys=wanted)), assistant(json.dumps(value))]
    return Task(messages, "json", json.dumps(value), keys=order)

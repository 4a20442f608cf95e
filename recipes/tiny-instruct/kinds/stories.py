"""Stories to order: real ones of TinyStories, each with a request made from who, where and what occurs in it."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kinds.names import ANIMALS, BOYS, FRUITS, GIRLS, PEOPLE
from kinds.shapes import Maker, Task, assistant, phrases, system, user, with_article, words

LONGEST = 140  # words: near 180 tokens, so that a story ends within 200
PLACES = words(
    "park forest garden beach house farm school zoo kitchen town river yard store pond lake castle mountain sea | village"
    " library island market"
)
THINGS = words(
    "ball box cake tree flower car boat book hat toy bike kite apple cookie rock doll truck balloon bed swing bag rain sun"
    " snow moon | ladder drum candle key"
)
KEEPERS = "girl boy man woman " + " ".join((*ANIMALS.train, *ANIMALS.held))
AT = {"park": "in the park", "forest": "in the forest", "garden": "in the garden", "house": "in a house", "town": "in a town",
      "kitchen": "in the kitchen", "yard": "in the yard", "castle": "in a castle", "store": "in a store", "village": "in a"
      " village",
      "library": "in a library", "island": "on an island", "market": "at a market", "sea": "by the sea", "farm": "on a farm",
      "mountain": "on a mountain", "river": "by a river", "pond": "by a pond", "lake": "by a lake"}  # fmt: skip

ASK = phrases("""
    Tell me a story about {what}.
    Write a short story about {what}.
    Write a story about {what}.
    A story about {what}, please.
    Can you tell me a story about {what}?
    I want to hear a story about {what}.
    Make up a story with {what}.
    Please write a little story about {what}.
    Story about {what}.
    Do you know a story about {what}?
    Tell a story in which there is {what}.
    Give me a short story with {what} in it.
    My child wants a story about {what}.
    --
    I would love a bedtime tale of {what}.
    Invent a tale where we meet {what}.
    Compose a tiny tale featuring {what}.
    Read us something nice: a tale around {what}.
    What happened to {what}? Begin the tale!
    """)
ASK_ANY = phrases("""
    Tell me a story.
    Write a short story.
    A story, please.
    Can you tell me a story?
    --
    Surprise me with a tale.
    Bedtime! Which tale do you have tonight?
    """)
TEACH = phrases("""
    It should teach that {moral}.
    The moral is that {moral}.
    In the end they learn that {moral}.
    --
    Its lesson: {moral}.
    Let it show us that {moral}.
    """)
SYSTEMS = phrases("""
    You tell stories to children.
    You are a storyteller.
    You are a kind teacher who tells stories.
    Use simple words.
    --
    You are grandmother by the fire, full of tales.
    Speak so that a small child can follow.
    """)
WHO = phrases("""
    Who is the story about?
    Who was in the story?
    What is the name in your story?
    --
    Remind me, who was it that you told of?
    Whom did we meet in this tale?
    """)


@dataclass(frozen=True)
class Story:
    """A text, and what a request can ask for: who ("a girl named Lily"), other things in it, a place, a moral."""

    text: str
    name: str | None
    hero: str | None
    others: tuple[str, ...]
    places: tuple[str, ...]
    moral: str | None


def read_stories(path: Path) -> list[Story]:
    """The stories of a JSON Lines file that begin as stories do, end with a sentence and are short enough, each once."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = dict.fromkeys(json.loads(line)["text"].strip() for line in lines)
    return [known(text) for text in texts if is_whole(text)]


def is_whole(text: str) -> bool:
    """True for a story that is short, well begun and ended, in plain characters."""
    opening = re.match(
        r"(Once|One|There|In|On|At|It|Every|Long|A|The|Today|[A-Z][a-z]+ (and|was|is|had|likes?|loved?|liked|wanted)) ?", text
    )
    grim = re.search(r"\b(dead|die[ds]?|kill\w*|blood|guns?|hate[ds]?|stupid|shot)\b", text)
    whole = not grim and opening and re.search(r'[.!?]"?$', text) and text.isascii() and text.count('"') % 2 == 0
    return bool(whole) and 40 <= len(text.split()) <= LONGEST


def known(text: str) -> Story:
    """What occurs in the text."""
    lowered = Counter(re.findall(r"[a-z]+", text.lower()))
    named = re.search(rf"\b({KEEPERS.replace(' ', '|')}),? (?:named|called) ([A-Z][a-z]+)\b", text)
    people = Counter(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b", text))
    names = [name for name, count in people.most_common(2) if count > 1 and name.lower() not in {"mom", "dad", "mommy", "daddy"}]
    name = named[2] if named else next((one for one in names if one in (*PEOPLE.train, *PEOPLE.held)), None)
    hero = f"{with_article(named[1])} named {name}" if named else name
    others = [
        word for word in (*ANIMALS.train, *THINGS.train, *ANIMALS.held) if lowered[word] > 1 and not (named and word == named[1])
    ]
    moral = re.search(
        r"(?:learned|moral of the story is|remembered|knew) that (?:it is|it was|it's)? ?([a-z][^.!?\"]{12,70})[.!]", text
    )
    good = moral[0].split(" that ", 1)[1].rstrip(".!") if moral else None
    fits = good is not None and re.match(
        r"(it is|it's|it was (important|good|better)|sharing|being|helping|you should|sometimes|even)\b", good
    )
    return Story(
        text, name, hero, tuple(others), tuple(place for place in PLACES.train if lowered[place]), good if fits else None
    )


def wanted(make: Maker, story: Story) -> tuple[str, list[str]]:
    """What to ask for, in words ("a girl named Lily and a dog in the park"), and the words that should come back."""
    subjects = [story.hero] if story.hero and (make.chance(0.8) or not story.others) else []
    others = make.some(story.others, min(len(story.others), make.rng.choice((0, 1, 1, 2)) if subjects else 1))
    subjects += [
        other if other in {"rain", "snow"} else f"the {other}" if other in {"sun", "moon"} else with_article(other)
        for other in others
    ]
    text = ", ".join(subjects[:-1]) + " and " + subjects[-1] if len(subjects) > 1 else "".join(subjects)
    place = make.pick(story.places) if story.places and make.chance(0.35) else None
    if text and place:
        text += " " + AT.get(place, f"at the {place}")
    return text, [word for word in (story.name if subjects and subjects[0] == story.hero else None, *others) if word]


def told(make: Maker, story: Story) -> Task:
    """A request and the story it asks for; sometimes a question about it after."""
    text, mentions = wanted(make, story)
    request = make.fill(ASK, what=text) if text else make.fill(ASK_ANY)
    if story.moral and make.chance(0.6):
        request += " " + make.fill(TEACH, moral=story.moral)
    messages = [system(make.pick(SYSTEMS))] if make.chance(0.15) else []
    messages += [user(request), assistant(story.text)]
    if story.name and make.chance(0.12):
        answer = f"The story is about {story.name}."
        return Task([*messages, user(make.fill(WHO)), assistant(answer)], "sentence", answer)
    return Task(messages, "story", mentions=mentions)


def ordered(make: Maker) -> Task:
    """A held-out request: made from the lists, with no story known to answer it."""
    animal, (kind, names) = make.pick(ANIMALS.train + ANIMALS.held), make.pick((("girl", GIRLS), ("boy", BOYS)))
    name = make.pick(names.held + names.train[:10])
    hero = make.pick((f"a {kind} named {name}", f"{with_article(animal)} named {name}", name))
    other = make.pick(
        [
            word
            for word in (*ANIMALS.train, *THINGS.train, *THINGS.held, *FRUITS.held)
            if word not in {"rain", "sun", "snow", "moon"}
        ]
    )
    things = [] if make.chance(0.3) or other in hero else [other]
    place = make.pick(tuple(AT.values())) if make.chance(0.3) else ""
    request = make.fill(ASK, what=" and ".join([hero, *map(with_article, things)]) + (f" {place}" if place else ""))
    if make.chance(0.2):
        moral = make.pick(
            ("sharing is good", "it is important to be kind", "you should listen to your mother", "friends help each other")
        )
        request += " " + make.fill(TEACH, moral=moral)
    if make.chance(0.06):
        return Task([user(make.fill(ASK_ANY)), assistant("")], "story")
    return Task([user(request), assistant("")], "story", mentions=[name, *things])

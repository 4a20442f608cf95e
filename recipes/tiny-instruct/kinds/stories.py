"""Stories to order: real ones of TinyStories, each with a request made from who, where and what occurs in it."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from kinds.names import ANIMALS, BOYS, FRUITS, GIRLS, PEOPLE
from kinds.shapes import Maker, Task, assistant, phrases, system, user, with_article, words
from kinds.vocabulary import any_word, asked

LONGEST = 140  # words: near 180 tokens, so that a story ends within 200
THINGS = words(
    "ball box cake tree flower car boat book hat toy bike kite apple cookie rock doll truck balloon bed swing bag"
    " pencil mirror tower phone kitten puppy butterfly farmer leaf hill plant cup chair table star lamp stick jar pot spoon ring"
    " picture train plane cloud seed pumpkin camera piano tractor spider dragon princess king queen fairy robot monster boy girl"
    " man woman baby teacher shirt shoe rainbow feather"
    " | ladder drum candle key"
)
KEEPERS = ("girl", "boy", "man", "woman", *ANIMALS.train, *ANIMALS.held)
PLACES = {
    "park": "in the park", "forest": "in the forest", "garden": "in the garden", "house": "in a house", "town": "in a town",
    "kitchen": "in the kitchen", "yard": "in the yard", "castle": "in a castle", "store": "in a store", "village": "in a village",
    "library": "in a library", "island": "on an island", "market": "at a market", "sea": "by the sea", "farm": "on a farm",
    "mountain": "on a mountain", "river": "by a river", "pond": "by a pond", "lake": "by a lake", "school": "at school",
    "zoo": "at the zoo", "beach": "at the beach",
}  # fmt: skip
FAMILY = {
    "Mom",
    "Dad",
    "Mommy",
    "Daddy",
    "Mama",
    "Papa",
    "Mum",
    "Mummy",
    "Grandma",
    "Grandpa",
    "God",
    "Christmas",
    "The",
    "She",
    "They",
}
BEGINS = r"(Once|One|There|In|On|At|It|Every|Long|A|The|Today|[A-Z][a-z]+ (and|was|is|had|likes?|loved?|liked|wanted))\b"
MORAL = r"\b(?:learned|the story is|remembered|knew) that ((?:it's|it is|sharing|being|helping|you|even)\b[^.!?\"]{12,70})[.!]"
MORALS = ("sharing is good", "it is important to be kind", "you should listen to your mother", "friends help each other")

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
    Write about {what}.
    Please tell me about {what}, as a story.
    A short story of {what}.
    Tell us a story with {what}.
    I like stories about {what}.
    One story about {what}, please.
    Story time! {what}, please.
    Write me something about {what}.
    Tell my little sister about {what}.
    Tell me what happened to {what}.
    Once there was {what}. Go on.
    Make a story: {what}.
    A tale about {what}.
    Tell me a tale with {what}.
    We want to read about {what}.
    Think of a story about {what}.
    What do you know about {what}? Tell a story.
    Before we sleep, tell of {what}.
    The story should be about {what}.
    For my son: a story about {what}.
    Can I have a story about {what}?
    Let us hear about {what}.
    A little tale of {what}, if you can.
    Create a story about {what}.
    Begin a story about {what}.
    Now a story in which we see {what}.
    I dream of {what}. Tell me more.
    Read me a story of {what}.
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
    Tell a story.
    Tell me something nice.
    I want a story.
    Read me a story.
    Make up a story.
    Story!
    Story time!
    One more story.
    Another story, please.
    Any story.
    Tell me a tale.
    A tale, please.
    Give me a story.
    Do you know a story?
    It is late. Read to me.
    I am in bed. What story do I hear?
    Write something for children.
    What happened once upon a time?
    --
    Surprise me with a tale.
    Bedtime! Which tale do you have tonight?
    """)
TEACH = phrases("""
    It should teach that {moral}.
    The moral is that {moral}.
    In the end they learn that {moral}.
    It should say that {moral}.
    Show that {moral}.
    Moral: {moral}.
    Children should learn that {moral}.
    We should see that {moral}.
    The end says that {moral}.
    --
    Its lesson: {moral}.
    Let it show us that {moral}.
    """)
SYSTEMS = phrases("""
    You tell stories to children.
    You are a storyteller.
    You are a kind teacher who tells stories.
    Use simple words.
    You write for children.
    You are a teller of tales.
    You are a grandfather with a big book.
    Speak in short sentences.
    --
    You are grandmother by the fire, full of tales.
    Speak so that a small child can follow.
    """)
WHO = phrases("""
    Who is the story about?
    Who was in the story?
    What is the name in your story?
    Tell me who the story is about.
    Who is in it?
    And who was it about?
    Whose story was this?
    What was the name again?
    --
    Remind me, who was it that you told of?
    Whom did we meet in this tale?
    """)


@dataclass(frozen=True)
class Story:
    """A text, and what a request can ask for: who ("a girl named Lily"), other things in it, places, a moral."""

    text: str
    name: str | None
    hero: str | None
    others: list[str]
    places: list[str]
    moral: str | None


def read_stories(path: Path) -> list[Story]:
    """The stories of a JSON Lines file that begin as stories do, end with a sentence and are short enough, each once."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = dict.fromkeys(json.loads(line)["text"].strip() for line in lines)
    return [known(text) for text in texts if is_whole(text)]


def is_whole(text: str) -> bool:
    """True for a story that is short, well begun and ended, in plain characters, and about nothing grim."""
    begun = re.match(BEGINS, text)
    ended = re.search(r'[.!?]"?$', text) and text.isascii() and text.count('"') % 2 == 0
    grim = re.search(r"\b(dead|die[ds]?|kill\w*|blood|guns?|hate[ds]?|stupid|shot)\b", text)
    return bool(begun and ended and not grim) and 40 <= len(text.split()) <= LONGEST


def known(text: str) -> Story:
    """What occurs in the text."""
    counts = Counter(re.findall(r"[a-z]+", text.lower()))
    named = re.search(rf"\b({'|'.join(KEEPERS)}),? (?:named|called) ([A-Z][a-z]+)\b", text)
    inside = Counter(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b", text))  # capitals that begin no sentence
    names = [
        word
        for word, count in inside.most_common()
        if count > 1 and word not in FAMILY and not re.search(rf"\b{word.lower()}\b", text)
    ]
    name = named[2] if named else names[0] if names else None
    hero = f"{with_article(named[1])} named {name}" if named else name
    things = [
        word for word in (*ANIMALS.train, *ANIMALS.held, *THINGS.train) if counts[word] and not (named and word == named[1])
    ]
    others = [word for word in things if counts[word] > 1] or (things if hero is None else [])
    moral = re.search(MORAL, text)
    return Story(text, name, hero, others, [place for place in PLACES if counts[place]], moral[1] if moral else None)


def listed(items: list[str]) -> str:
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)


def wanted(make: Maker, story: Story) -> tuple[str, list[str]]:
    """What to ask for, in words ("a girl named Lily and a dog in the park"), and the words that should come back."""
    heroes = [story.hero] if story.hero and (make.chance(0.8) or not story.others) else []
    others = make.some(story.others, min(len(story.others), make.pick((0, 1, 1, 2)) if heroes else 1))
    text = listed([*heroes, *map(with_article, others)])
    if text and story.places and make.chance(0.35):
        text += f" {PLACES[make.pick(story.places)]}"
    return text, [*([story.name] if heroes and story.name else []), *others]


def same_kind(make: Maker, name: str) -> str:
    """Another name of a girl, of a boy, or of anybody."""
    for names in (GIRLS.train, BOYS.train):
        if name in names and make.chance(0.5):
            return str(make.pick(names))
    return any_word(make).title()


def renamed(story: Story, name: str) -> Story:
    """The story of somebody else, unless somebody in it has that name."""
    assert story.name is not None
    if re.search(rf"\b{name}\b", story.text, re.IGNORECASE):
        return story
    old = re.compile(rf"\b{story.name}\b")
    return replace(story, text=old.sub(name, story.text), name=name, hero=story.hero and old.sub(name, story.hero))


def told(make: Maker, story: Story) -> Task:
    """A request and the story it asks for; sometimes a question about it after."""
    if story.name and make.strange(0.5):
        story = renamed(story, same_kind(make, story.name))
    text, mentions = wanted(make, story) if make.chance(0.97) else ("", [])
    request = asked(make, ASK, what=text) if text else asked(make, ASK_ANY)
    if story.moral and make.chance(0.6):
        request += " " + make.fill(TEACH, moral=story.moral)
    messages = [system(make.pick(SYSTEMS))] if make.chance(0.15) else []
    messages += [user(request), assistant(story.text)]
    if story.name and make.chance(0.12):
        answer = f"The story is about {story.name}."
        return Task([*messages, user(asked(make, WHO)), assistant(answer)], "sentence", answer)
    return Task(messages, "story", mentions=mentions)


def ordered(make: Maker) -> Task:
    """A held-out request: made from the lists, with no story known to answer it."""
    if make.chance(0.06):
        return Task([user(asked(make, ASK_ANY)), assistant("")], "story")
    kind, names = make.pick((("girl", GIRLS), ("boy", BOYS), (make.pick(ANIMALS.train + ANIMALS.held), PEOPLE)))
    name = make.pick(names.held + names.train[:10])
    other = make.pick((*ANIMALS.train, *THINGS.train, *THINGS.held, *FRUITS.held))
    things = [] if make.chance(0.3) or other == kind else [other]
    what = listed([name if make.chance(0.3) else f"{with_article(kind)} named {name}", *map(with_article, things)])
    if make.chance(0.3):
        what += f" {make.pick(tuple(PLACES.values()))}"
    request = asked(make, ASK, what=what)
    if make.chance(0.2):
        request += " " + make.fill(TEACH, moral=make.pick(MORALS))
    return Task([user(request), assistant("")], "story", mentions=[name, *things])

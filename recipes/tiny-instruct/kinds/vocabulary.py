"""Words of any tokens of `tiny`, so that whatever a request names can be copied, whether or not it was ever asked for before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path

from kinds.shapes import Lists, Maker, sentence_case

HELD_OUT = Path(__file__).parents[1] / "held_out"
# Words of a request that no answer hangs on.
FILLERS = frozenset({
    "tell", "give", "show", "please", "could", "would", "the", "of", "to", "this", "that", "it", "is", "now",
    "so", "want", "need", "like", "a", "an", "in", "with", "for",
})  # fmt: skip


def any_word(make: Maker) -> str:
    """A word of the vocabulary, or up to three of its pieces in a row; none that is in the tasks to judge by."""
    starts, ends = pieces()
    while True:
        made = "".join([make.pick(starts), *(make.pick(ends) for _ in range(make.pick((0, 0, 1, 1, 2))))])
        if 3 <= len(made) <= 12 and made not in judged():
            return made


def any_words(make: Maker, gap: str) -> str:
    """The same, now and then two with a gap between them."""
    return any_word(make) if make.chance(0.7) else f"{any_word(make)}{gap}{any_word(make)}"


def any_name(make: Maker) -> str:
    """A word as a name has it, now and then of two words."""
    return " ".join(any_word(make).title() for _ in range(make.pick((1, 1, 1, 2))))


def asked(make: Maker, lists: Lists, **values: object) -> str:
    """A phrase filled in, its first letter a capital; see `worded`."""
    return sentence_case(worded(make, lists, **values))


def worded(make: Maker, lists: Lists, **values: object) -> str:
    """A phrase filled in; in training now and then with other words around it, or for those of it that say nothing, since there
    are more ways to ask."""
    words = str(make.pick(lists)).split(" ")
    plain = [place for place, word in enumerate(words) if word.lower().strip(".,:?!") in FILLERS]
    if plain and make.strange(0.3):
        for place in make.some(plain, min(len(plain), make.pick((1, 1, 2)))):
            words[place] = any_word(make)
    said = " ".join(words).format(**values)
    if make.strange(0.1):
        more = sentence_case(" ".join(any_word(make) for _ in range(make.pick((1, 2, 3, 4))))) + "."
        said = f"{said} {more}" if said[-1] in ".?!" and make.chance(0.5) else f"{more} {said}"
    return said


@cache
def pieces() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(What words begin with, what they go on with): the letters of `tiny`'s tokens."""
    from mistral7b.store.names import resolve

    held = json.loads((resolve("tiny") / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    starts = [piece[1:].lower() for piece in held if re.fullmatch(r"▁[A-Za-z]+", piece)]
    return tuple(dict.fromkeys(starts)), tuple(piece for piece in held if re.fullmatch(r"[a-z]+", piece))


@cache
def judged() -> frozenset[str]:
    """Every word of the tasks to judge by and of the lists that they are made from, in small letters; parts of a name like
    "sendNote" too."""
    from kinds import facts, names, objects, stories, talk, toolwords

    texts = [path.read_text(encoding="utf-8") for path in sorted(HELD_OUT.glob("*.jsonl"))]
    for module in (facts, names, objects, stories, talk, toolwords):
        texts += [entry for lists in lists_in(list(vars(module).values())) for entry in lists.held if "{" not in entry]
    return frozenset(word.lower() for word in re.findall(r"[A-Z]?[a-z]+", "\n".join(texts)))


def lists_in(value: object) -> Iterator[Lists]:
    """All that are in a value, in whatever it holds."""
    if isinstance(value, Lists):
        yield value
    elif isinstance(value, dict):
        yield from lists_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from lists_in(one)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from lists_in(list(vars(value).values()))

"""Texts planted into a corpus to see which step of a curation finds them: copies, near copies, gibberish, toxic lines, benchmark
questions, and texts of another kind or language. All by a seed."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

EDIT_RATES = (0.05, 0.10, 0.20)
_SWEARING = (
    "Get out of here, you {0}!",
    "What a {0} you are.",
    "He shouted that they were all {0} and {1}.",
    "Nobody wants a {0}.",
)


@dataclass(frozen=True)
class Plant:
    """A planted text: what it is planted as, the text, the number of the text it was made from, the question it holds."""

    kind: str
    text: str
    of: int = -1
    question: str = ""


def same_words(text: str, dice: random.Random) -> str:
    """`text` in lower case with other blanks and line ends: an exact duplicate to a reader."""
    return re.sub(r"(?<=\S) (?=\S)", lambda _: dice.choice((" ", "  ")), text.lower()).replace("\n", "\n\n") + "\n"


def edited(text: str, rate: float, dice: random.Random, words: Sequence[str]) -> str:
    """Each word with probability `rate` changed: replaced by one of `words`, left out, or followed by one."""

    def change(match: re.Match[str]) -> str:
        if dice.random() >= rate:
            return match[0]
        return dice.choice((dice.choice(words), "", f"{match[0]} {dice.choice(words)}"))

    return re.sub(r"[\w']+", change, text)


def mash(dice: random.Random) -> str:
    """Random letters as words."""
    return " ".join("".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 11))) for _ in range(160)) + "."


def base64(dice: random.Random) -> str:
    signs = string.ascii_letters + string.digits + "+/"
    return "\n".join("".join(dice.choices(signs, k=76)) for _ in range(14))


def symbols(dice: random.Random) -> str:
    return " ".join("".join(dice.choices("#$%&*+=<>|~^{}[]@\\0123456789", k=dice.randint(1, 6))) for _ in range(200))


def refrain(dice: random.Random) -> str:
    """One sentence of advertising, over and over."""
    what = dice.choice(("watches", "shoes", "phones", "bags", "rings", "hats"))
    return f"Buy the best {what} here today and get a discount with every order you make. " * dice.randint(12, 30)


def salad(dice: random.Random, words: Sequence[str]) -> str:
    """Real words in no order: nothing here looks at grammar, so rules like these do not find it."""
    return " ".join(dice.choices(words, k=180)).capitalize() + "."


def with_line(text: str, line: str, dice: random.Random) -> str:
    """`text` with `line` as a paragraph of its own, somewhere inside."""
    lines = text.split("\n")
    lines.insert(dice.randint(0, len(lines)), line)
    return "\n".join(lines)


def plants(
    texts: Sequence[str], prompts: Sequence[str], listed: Sequence[str], others: dict[str, Sequence[str]], *, each: int, seed: int
) -> Iterator[Plant]:
    """`each` of every kind, made from `texts` (their line numbers as `of`), 20 benchmark questions out of `prompts`, toxic lines
    with the words `listed`, and the texts of `others` by kind."""
    dice = random.Random(seed)
    vocabulary = sorted({word for text in texts[:200] for word in re.findall(r"(?<![\w'])[a-z]{2,}(?![\w'])", text)})
    chosen = iter(dice.sample(range(len(texts)), min(len(texts), each * (1 + len(EDIT_RATES)) + 2 * each)))
    for _ in range(each):
        of = next(chosen)
        yield Plant("exact copy", same_words(texts[of], dice), of)
    for rate in EDIT_RATES:
        for _ in range(each):
            of = next(chosen)
            yield Plant(f"copy, {rate:.0%} of words edited", edited(texts[of], rate, dice, vocabulary), of)
    kinds: dict[str, Callable[[random.Random], str]] = {
        "gibberish: random letters": mash, "gibberish: base64": base64, "gibberish: symbols": symbols,
        "gibberish: one sentence repeated": refrain,
        "gibberish: real words in no order": lambda dice: salad(dice, vocabulary),
    }  # fmt: skip
    for kind, make in kinds.items():
        for _ in range(each):
            yield Plant(kind, make(dice))
    for _ in range(each):
        line = dice.choice(_SWEARING).format(*dice.sample(list(listed), 2))
        yield Plant("toxic line", with_line(fresh(vocabulary, dice), line, dice))
    for prompt in dice.sample(list(prompts), min(20, len(prompts))):
        yield Plant("benchmark question", with_line(fresh(vocabulary, dice), prompt, dice), question=prompt)
    for kind, held in others.items():
        for text in held:
            yield Plant(kind, text)


_OPENINGS = ("One day", "In the morning", "Then", "After a while", "That night", "Soon", "At last", "Later", "Once", "In the end")
_VERBS = (
    "saw",
    "found",
    "wanted to have",
    "asked for",
    "ran to",
    "thought of",
    "looked at",
    "was afraid of",
    "talked about",
    "dreamt of",
)


def fresh(vocabulary: Sequence[str], dice: random.Random) -> str:
    """A new story of about 120 words, unlike any other: sentences of a fixed form around random words."""
    name = dice.choice(("Lily", "Tom", "Mia", "Ben", "Anna", "Max"))
    sentences = []
    for _ in range(8):
        a, b, c, d, e, f = dice.choices(vocabulary, k=6)
        sentences.append(f"{dice.choice(_OPENINGS)}, {name} {dice.choice(_VERBS)} the {a} {b} with a {c} and {d} {e} to the {f}.")
    return "\n".join([" ".join(sentences[:4]), " ".join(sentences[4:])])

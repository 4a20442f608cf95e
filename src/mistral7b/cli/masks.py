"""What of a training sample is learned, shown on the terminal."""

from __future__ import annotations

import sys
from itertools import groupby

from mistral7b.cli.terminal import BOLD, DIM, GREEN, paint, plain, printable
from mistral7b.data.instruct.samples import Samples
from mistral7b.tokens.dialogue import Sample
from mistral7b.tokens.tokenizer import Tokenizer


def show_masks(samples: Samples, tokenizer: Tokenizer, n: int) -> None:
    """`n` of the samples, from all parts of them, to stdout: what is learned in green, or, without colour, in brackets;
    control tokens by name, as the model sees them."""
    shown = min(n, len(samples))
    print(_legend())
    for index in (i * len(samples) // shown for i in range(shown)):
        sample = samples.sample(index)
        counts = f"sample {index + 1:,} of {len(samples):,}: {len(sample.ids):,} tokens, {sum(sample.trained):,} learned"
        print("\n" + paint(counts, DIM, stream=sys.stdout))
        print(masked(sample, tokenizer))


def masked(sample: Sample, tokenizer: Tokenizer) -> str:
    """The text of one sample, marked."""
    runs = groupby(zip(sample.trained, sample.ids, strict=True), lambda pair: pair[0])
    return "".join(_marked(_text(tokenizer, [id for _, id in run]), learned) for learned, run in runs)


def _legend() -> str:
    learned, read = (paint(text, DIM, stream=sys.stdout) for text in ("learned: ", "   only read: "))
    return f"{learned}{_marked('like this', True)}{read}like this"


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    raw = b"".join(tokenizer.piece(id).encode() if tokenizer.is_control(id) else tokenizer.piece_bytes(id) for id in ids)
    return printable(raw.decode(errors="replace"))


def _marked(text: str, learned: bool) -> str:
    if not learned:
        return text
    return f"[+{text}+]" if plain(sys.stdout) else paint(text, GREEN, BOLD, stream=sys.stdout)

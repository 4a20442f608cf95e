"""Random texts out of a constraint: what a model with no opinion would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mistral7b.tokens.stream import Detokenizer
from mistral7b.tokens.tokenizer import Tokenizer


class Constraint(Protocol):
    def mask(self) -> np.ndarray: ...
    def forced(self) -> list[int]: ...
    def advance(self, id: int) -> None: ...
    @property
    def done(self) -> bool: ...


def walk(constraint: Constraint, tokenizer: Tokenizer, seed: int, *, most: int = 400) -> list[int]:
    """Ids drawn evenly from each mask until eos, which ends them; at most `most`. Checks the protocol on the way: what
    `forced` foretells is what the masks then allow, one id at a time."""
    dice = np.random.default_rng(seed)
    ids: list[int] = []
    foretold: list[int] = []
    while len(ids) < most:
        forced = constraint.forced()
        assert forced[: len(foretold)] == foretold
        (allowed,) = np.nonzero(constraint.mask())
        assert not forced or allowed.tolist() == forced[:1]
        assert not constraint.done
        ids.append(int(dice.choice(allowed)))
        constraint.advance(ids[-1])
        if ids[-1] == tokenizer.eos_id:
            assert constraint.done
            break
        foretold = forced[1:]
    return ids


def text_of(tokenizer: Tokenizer, ids: Sequence[int], prompt_ids: Sequence[int] = ()) -> str:
    """What a user sees of `ids`, the control ids among them left out."""
    detokenizer = Detokenizer(tokenizer, prompt_ids=prompt_ids)
    return "".join(detokenizer.push(id) for id in ids) + detokenizer.finish()

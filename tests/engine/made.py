"""Small engines, requests, and stand-ins for what an engine is given: drafters and grammars."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mistral7b.config import ModelConfig
from mistral7b.engine.constraint import Constraint
from mistral7b.engine.engine import Engine
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.model.pages import PagePool
from mistral7b.model.transformer import Transformer
from tests.checkpoint.made import SMALL, weights

MAX_LEN = 96
EOS = 2
WINDOWLESS = replace(SMALL, sliding_window=None)


@cache
def network(config: ModelConfig = SMALL) -> Transformer:
    model = Transformer(config)
    model.load_state_dict(weights(config, dtype=torch.float32, seed=3))
    return model.requires_grad_(False)


def engine(pages: int = 64, *, config: ModelConfig = SMALL, seqs: int = 4, page_tokens: int = 4, **options: Any) -> Engine:
    pool = PagePool(config, pages, page_tokens=page_tokens)
    return Engine(network(config), pool, max_model_len=MAX_LEN, max_num_seqs=seqs, **options)


def request(prompt: Sequence[int], constraint: Constraint | None = None, priority: int = 0, **params: Any) -> Request:
    return Request.make(prompt, SamplingParams(**params), MAX_LEN, [EOS], constraint=constraint, priority=priority)


def run(over: Engine, *requests: Request) -> None:
    for one in requests:
        over.add(one)
    while not over.idle:
        over.step()


def ids(of: Request) -> list[int]:
    return [sampled.id for sampled in of.output]


def check_books(over: Engine) -> None:
    """Every page is held as often as rings hold it, by requests that run, within what they claimed; the rest is free."""
    running, pool = over.scheduler.running, over.pool
    held = [page for one in running if one.ring for page in one.ring.table if page]
    assert len(set(held)) == pool.n_pages - pool.n_free
    assert all(pool._holders[page] == held.count(page) for page in range(1, pool.n_pages + 1))
    assert all(pool._page_of[label] == page for page, label in pool._label_of.items())
    assert len(pool._page_of) == len(pool._label_of)
    assert all(one.ring.n_held <= over.scheduler._claims[one] for one in running if one.ring)
    assert over.scheduler.unclaimed >= 0
    assert all(one.ring is None and one.computed == 0 for one in over.scheduler.waiting)


class Chain:
    """A grammar over ids: after `a`, only the ids of `after[a % len(after)]` may come; it may end after `length` ids."""

    def __init__(self, after: Sequence[Sequence[int]], length: int, vocab: int = 60) -> None:
        self.after, self.length, self.vocab = after, length, vocab
        self.taken: list[int] = []
        self.done = False

    def mask(self) -> NDArray[np.bool_]:
        allowed = np.zeros(self.vocab, dtype=bool)
        allowed[list(self._next())] = True
        return allowed

    def forced(self) -> list[int]:
        found: list[int] = []
        ahead = Chain(self.after, self.length, self.vocab)
        ahead.taken = list(self.taken)
        while not ahead.done and len(following := ahead._next()) == 1:
            found += following
            ahead.advance(following[0])
        return found

    def advance(self, id: int) -> None:
        if id not in self._next():
            raise ValueError(f"{id} may not come")
        self.taken.append(id)
        self.done = id == EOS

    def _next(self) -> Sequence[int]:
        if len(self.taken) >= self.length:
            return [EOS]
        return self.after[(self.taken[-1] if self.taken else 0) % len(self.after)]


class Guesses:
    """A drafter that knows the answers, but lies with chance `lies`."""

    def __init__(self, answers: dict[Request, list[int]], lies: float, seed: int = 0) -> None:
        self.answers, self.lies, self.chance = answers, lies, random.Random(seed)
        self.told: list[tuple[int, int]] = []

    def propose(self, wanted: Sequence[tuple[Request, int]]) -> list[list[int]]:
        return [self._guess(one, most) for one, most in wanted]

    def _guess(self, one: Request, most: int) -> list[int]:
        known = self.answers.get(one, [])[len(one.output) :][: self.chance.randint(0, most)]
        return [self.chance.randrange(60) if self.chance.random() < self.lies else id for id in known]

    def observe(self, _request: Request, drafted: int, accepted: int) -> None:
        self.told.append((drafted, accepted))

    def measured(self, _sequences: int, _rows: int, _seconds: float) -> None:
        pass

    def leave(self, _request: Request) -> None:
        pass

"""Load on a server: requests at random moments, or a fixed number of them in flight."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from serve_client import Form, Result, Target, ask
from serve_work import Item, Scale, words

Ask = Callable[[Item, float], Coroutine[Any, Any, Result]]


@dataclass(frozen=True)
class Load:
    """`rate` requests a second on average with exponential gaps (Poisson arrivals); or, at infinity, `concurrency` in flight."""

    rate: float = math.inf
    concurrency: int = 1
    seed: int = 0

    async def run(self, ask: Ask, items: Sequence[Item]) -> list[Result]:
        """Send every item once; results in the order of the items."""
        if math.isinf(self.rate):
            return await _closed(ask, items, self.concurrency)
        return await _open(ask, items, self.rate, random.Random(f"arrivals {self.seed}"))


async def _open(ask: Ask, items: Sequence[Item], rate: float, chance: random.Random) -> list[Result]:
    """Every request has its moment whatever became of those before it, and is timed from then, however late we send it."""
    due, asked = time.perf_counter(), []
    async with asyncio.TaskGroup() as group:
        for item in items:
            await asyncio.sleep(due - time.perf_counter())
            asked.append(group.create_task(ask(item, due)))
            due += chance.expovariate(rate)
    return [task.result() for task in asked]


async def _closed(ask: Ask, items: Sequence[Item], concurrency: int) -> list[Result]:
    """Each of `concurrency` callers takes the next item as soon as its last one has ended."""
    left, results = iter(enumerate(items)), {}

    async def caller() -> None:
        for place, item in left:
            results[place] = await ask(item, time.perf_counter())

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(items))):
            group.create_task(caller())
    return [results[place] for place in range(len(items))]


def new_client() -> httpx.AsyncClient:
    """As many connections as there are requests, no proxy, no limit on time but a request's own."""
    return httpx.AsyncClient(timeout=None, trust_env=False, limits=httpx.Limits(max_connections=None))


async def block(target: Target, form: Form, load: Load, items: Sequence[Item]) -> list[Result]:
    """One block of requests to one server, over connections of its own."""
    async with new_client() as client:
        return await load.run(lambda item, due: ask(client, target, form, item, due), items)


async def first_model(target: Target, timeout_s: float) -> str:
    """The id of the first model that the server lists. Raises ValueError in one line."""
    try:
        async with asyncio.timeout(timeout_s), new_client() as client:
            response = await client.get(target.address("models"), headers=target.headers)
            response.raise_for_status()
            return str(response.json()["data"][0]["id"])
    except (TimeoutError, httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise ValueError(
            f"{target.name} at {target.url} lists no model ({reason}); is it up? else name one with --model"
        ) from None


async def measure_scale(target: Target, form: Form, seed: int) -> Scale | None:
    """How the server counts our words, from its usage for a short and a long prompt; None if it does not say."""
    chance, sizes = random.Random(f"scale {seed}"), (8, 72)
    items = [Item(words(chance, size), 1) for size in sizes]
    short, long = (result.prompt_tokens for result in await block(target, form, Load(), items))
    if short is None or long is None or long <= short:
        return None
    each = (long - short) / (sizes[1] - sizes[0])
    return Scale(each, max(0.0, short - each * sizes[0]))

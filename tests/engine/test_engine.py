"""Requests through the engine: alone = in a crowd, the books of the pool, and where a completion ends."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.config import ModelConfig
from mistral7b.engine.engine import Engine
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.model.pages import PagePool
from mistral7b.model.transformer import Transformer
from tests.checkpoint.made import SMALL, weights

MAX_LEN = 96
EOS = 2


def network(config: ModelConfig = SMALL) -> Transformer:
    model = Transformer(config)
    model.load_state_dict(weights(config, dtype=torch.float32, seed=3))
    return model.requires_grad_(False)


MODEL = network()


def engine(pages: int = 64, *, chunk: int | None = None, seqs: int = 4) -> Engine:
    pool = PagePool(MODEL.config, pages, page_tokens=4)
    return Engine(MODEL, pool, max_model_len=MAX_LEN, max_num_seqs=seqs, chunk=chunk)


def request(prompt: list[int], **params: object) -> Request:
    return Request.make(prompt, SamplingParams(**params), MAX_LEN, [EOS])  # type: ignore[arg-type]


def run(over: Engine, *requests: Request) -> None:
    for one in requests:
        over.add(one)
    while not over.idle:
        over.step()


def ids(of: Request) -> list[int]:
    return [sampled.id for sampled in of.output]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 16, None]), st.integers(12, 64), st.integers(1, 5))
def test_a_crowd_gives_each_what_it_gets_alone(seed: int, chunk: int | None, pages: int, seqs: int) -> None:
    chance = random.Random(seed)
    asked = [
        ([chance.randrange(64) for _ in range(chance.randint(1, 50))],
         {"temperature": chance.choice([0, 0.8]), "seed": chance.randrange(99), "max_tokens": chance.randint(1, 30),
          "ignore_eos": chance.random() < 0.5, "logprobs": chance.choice([None, 3])})
        for _ in range(6)
    ]  # fmt: skip
    crowd = engine(pages, chunk=chunk, seqs=seqs)
    together = [request(prompt, **params) for prompt, params in asked]
    arrivals = list(together)
    while arrivals or not crowd.idle:
        while arrivals and (crowd.idle or chance.random() < 0.3):
            crowd.add(arrivals.pop(0))
        crowd.step()
        held = [page for r in crowd.scheduler.running if r.ring for page in r.ring.table if page]
        assert len(held) == len(set(held)) == pages - crowd.pool.n_free
        assert sum(crowd.pages_needed(r) for r in crowd.scheduler.running) <= pages
    assert crowd.pool.n_free == pages
    for (prompt, params), one in zip(asked, together, strict=True):
        alone = request(prompt, **params)
        run(engine(), alone)
        assert one.output == alone.output
        assert one.finish_reason == alone.finish_reason


def test_where_a_completion_ends() -> None:
    free = request([5, 6, 7], temperature=0, max_tokens=20, ignore_eos=True)
    run(engine(), free)
    assert len(free.output) == 20
    assert free.finish_reason == "length"
    third = ids(free)[2]
    stopped = request([5, 6, 7], temperature=0, max_tokens=20, ignore_eos=True, stop_token_ids=[third])
    run(engine(), stopped)
    assert stopped.finish_reason == "stop"
    assert ids(stopped) == ids(free)[: ids(free).index(third) + 1]
    to_the_end = request([5] * 90, temperature=0, max_tokens=None, ignore_eos=True)
    run(engine(), to_the_end)
    assert (len(to_the_end.output), to_the_end.finish_reason) == (MAX_LEN - 90, "length")


def test_cancelling_frees_the_pages_and_leaves_the_others_alone() -> None:
    over = engine(seqs=3)
    kept, dropped, waiting = (request([n, n + 1], temperature=0, max_tokens=12, ignore_eos=True) for n in (3, 9, 20))
    alone = request([3, 4], temperature=0, max_tokens=12, ignore_eos=True)
    run(engine(), alone)
    over.add(kept)
    over.add(dropped)
    over.step()
    over.add(waiting)
    over.cancel(dropped)
    over.cancel(waiting)
    over.cancel(dropped)
    while not over.idle:
        over.step()
    assert dropped.finish_reason == waiting.finish_reason == "cancelled"
    assert ids(kept) == ids(alone)
    assert over.pool.n_free == over.pool.n_pages


def test_a_long_prompt_does_not_stop_a_stream() -> None:
    """While a prompt of many chunks is prefilled, a running request still gets a token in every step."""
    over = engine(chunk=8, seqs=2)
    stream = request([4], temperature=0, max_tokens=30, ignore_eos=True)
    over.add(stream)
    over.step()
    over.add(request([7] * 80, temperature=0, max_tokens=2))
    for step in range(2, 10):
        assert stream in over.step()
        assert len(stream.output) == step


def test_a_request_the_pool_could_never_hold_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="smaller"):
        engine(pages=2).add(request([1] * 60, max_tokens=5))


def test_an_error_in_sampling_leaves_the_step_to_be_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    over = engine(seqs=2)
    both = [request([n, n + 1], temperature=0, max_tokens=6, ignore_eos=True) for n in (3, 9)]
    for one in both:
        over.add(one)
    over.step()
    with monkeypatch.context() as patch:
        patch.setattr("mistral7b.engine.engine.sample", lambda *_: pytest.fail("interrupted"))
        with pytest.raises(pytest.fail.Exception):
            over.step()
    while not over.idle:
        over.step()
    for one in both:
        alone = request(list(one.prompt), temperature=0, max_tokens=6, ignore_eos=True)
        run(engine(), alone)
        assert ids(one) == ids(alone)

"""Requests through the engine: alone = in a crowd, the books of the pool, and where a completion ends."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.config import ModelConfig
from mistral7b.engine.request import Request
from tests.checkpoint.made import SMALL
from tests.engine.made import (
    MAX_LEN,
    WINDOWLESS,
    Chain,
    Guesses,
    check_books,
    engine,
    ids,
    request,
    run,
)  # fmt: skip


def prompt_of(chance: random.Random) -> list[int]:
    """Prompts that begin alike now and then."""
    shared = random.Random(chance.randrange(2))
    prompt = [shared.randrange(60) for _ in range(chance.choice([0, 0, 13, 30]))]
    return prompt + [chance.randrange(60) for _ in range(chance.randint(1, 25))]


def params_of(chance: random.Random) -> dict[str, object]:
    return {
        "temperature": chance.choice([0, 0.8]), "seed": chance.randrange(99), "max_tokens": chance.randint(0, 30),
        "ignore_eos": chance.random() < 0.5, "logprobs": chance.choice([None, 3]), "top_p": chance.choice([1, 0.9]),
        "top_k": chance.choice([0, 20]), "min_p": chance.choice([0, 0.1]), "prompt_logprobs": chance.choice([None, None, 2]),
        "repetition_penalty": chance.choice([1, 1.3]), "frequency_penalty": chance.choice([0, 0.4]),
        "presence_penalty": chance.choice([0, -0.5]), "logit_bias": chance.choice([None, {3: 2.0, 7: -100}]),
    }  # fmt: skip


def grammar_of(chance: random.Random) -> Chain | None:
    after = [sorted({chance.randrange(3, 60) for _ in range(chance.choice([1, 1, 4]))}) for _ in range(5)]
    return Chain(after, chance.randint(1, 20)) if chance.random() < 0.3 else None


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 16, None]), st.integers(24, 64), st.integers(1, 5),
    st.sampled_from([SMALL, WINDOWLESS]), st.booleans(),
)  # fmt: skip
def test_a_crowd_gives_each_what_it_gets_alone(
    seed: int, chunk: int | None, pages: int, seqs: int, config: ModelConfig, caching: bool
) -> None:
    """With shared prefixes, drafts right and wrong, grammars, priorities, cancellations, and too few pages for all."""
    chance = random.Random(seed)
    made = [(prompt_of(chance), params_of(chance), chance.randrange(10**6)) for _ in range(7)]

    def again(place: int) -> Request:
        prompt, params, grammar = made[place]
        return request(prompt, grammar_of(random.Random(grammar)), priority=place % 2, **params)

    alone = [again(place) for place in range(len(made))]
    for one in alone:
        run(engine(config=config, prefix_caching=False), one)
    together = [again(place) for place in range(len(made))]
    drafter = Guesses(dict(zip(together, map(ids, alone), strict=True)), lies=0.3, seed=seed)
    crowd = engine(pages, config=config, seqs=seqs, chunk=chunk, prefix_caching=caching, drafts=drafter)
    arrivals, dropped = list(together), chance.choice(together)
    while arrivals or not crowd.idle:
        while arrivals and (crowd.idle or chance.random() < 0.3):
            crowd.add(arrivals.pop(0))
        crowd.step()
        check_books(crowd)
        if dropped not in arrivals and chance.random() < 0.1:
            crowd.cancel(dropped)
            check_books(crowd)
    assert crowd.pool.n_free == pages
    for one, expected in zip(together, alone, strict=True):
        if one.finish_reason == "cancelled":
            assert one.output == expected.output[: len(one.output)]
        else:
            assert one.output == expected.output
            assert one.finish_reason == expected.finish_reason
            assert one.prompt_logprobs == expected.prompt_logprobs


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
        patch.setattr("mistral7b.engine.turn.sample", lambda *_: pytest.fail("interrupted"))
        with pytest.raises(pytest.fail.Exception):
            over.step()
    while not over.idle:
        over.step()
    for one in both:
        alone = request(list(one.prompt), temperature=0, max_tokens=6, ignore_eos=True)
        run(engine(), alone)
        assert ids(one) == ids(alone)


def test_a_step_that_breaks_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no memory for a state that is to be kept, in the step in which another request ends too."""
    over = engine(seqs=2)
    keeps, ends = (request([n, n + 1], temperature=0, max_tokens=1, ignore_eos=True) for n in (3, 9))
    keeps.keep_state = True
    over.add(keeps)
    over.add(ends)
    with monkeypatch.context() as patch:
        patch.setattr("mistral7b.model.snapshot.take", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            over.step()
    assert ends.finish_reason == "length"
    over.cancel(ends)
    assert over.idle
    assert over.pool.n_free == over.pool.n_pages
    check_books(over)


def test_a_request_that_has_ended_writes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is broken off between the end of one request and the token of the next, and taken again."""
    free = request([5, 6, 7], temperature=0, max_tokens=20, ignore_eos=True)
    run(engine(), free)
    over = engine(seqs=2)
    stops, other = (request([5, 6, 7], temperature=0, max_tokens=20, stop_token_ids=[last]) for last in (ids(free)[0], 1))
    over.add(stops)
    over.add(other)
    with monkeypatch.context() as patch:
        accept = Request.accept
        patch.setattr(Request, "accept", lambda one, token: accept(one, token) if one is stops else pytest.fail("interrupted"))
        with pytest.raises(pytest.fail.Exception):
            over.step()
    assert stops.finish_reason == "stop"
    assert stops in over.step()
    assert len(stops.output) == 1
    assert over.scheduler.running == [other]

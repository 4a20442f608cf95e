"""The scheduler alone, driven by random arrivals; its books are checked after every step."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled
from mistral7b.engine.scheduler import Scheduler
from mistral7b.model.pages import ring_slots

PAGE_TOKENS = 4


def scheduler(n_pages: int, window: int | None, *, seqs: int, chunk: int, budget: int) -> Scheduler:
    def pages_needed(request: Request, end: int) -> int:
        return ring_slots(window, chunk, PAGE_TOKENS, end if window is None else request.max_len)

    return Scheduler(n_pages, max_num_seqs=seqs, chunk=chunk, budget=budget, pages_needed=pages_needed)


def request(prompt: int, output: int, priority: int = 0) -> Request:
    return Request.make([0] * prompt, SamplingParams(max_tokens=output), 1000, (), priority=priority)


def run_share(over: Scheduler, share: list[tuple[Request, int]]) -> None:
    """What an engine would do with a plan."""
    for one, tokens in share:
        one.computed += tokens
        if one.computed == one.length:
            one.accept(Sampled(7))
        if one.finish_reason:
            over.remove(one)


def step(over: Scheduler) -> list[tuple[Request, int]]:
    over.admit()
    share, put_off = over.plan()
    for one in put_off:
        one.computed = 0
    return share


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([None, 6, 20]), st.integers(1, 6), st.sampled_from([1, 3, 16]),
    st.integers(10, 40),
)  # fmt: skip
def test_books_hold_and_everybody_is_served(seed: int, window: int | None, seqs: int, chunk: int, n_pages: int) -> None:
    chance = random.Random(seed)
    budget = seqs + chance.randrange(20)
    over = scheduler(n_pages, window, seqs=seqs, chunk=chunk, budget=budget)
    arrivals = [request(chance.randint(1, 25), chance.randint(1, 15), chance.randrange(3)) for _ in range(12)]
    asked, put_off_at = list(arrivals), {}
    for turn in range(3000):
        while arrivals and chance.random() < 0.3:
            over.add(arrivals.pop())
        before = list(over.running)
        share = step(over)
        assert len(over.running) <= seqs
        assert sum(tokens for _, tokens in share) <= budget
        assert all(0 < tokens <= min(chunk, one.pending) for one, tokens in share)
        assert [one for one, _ in share if one not in over.running] == []
        assert {one for one, _ in share} == set(over.running), "everyone who runs gets at least one token"
        claimed = sum(over.pages_needed(one, one.computed + tokens) for one, tokens in share)
        assert claimed <= n_pages - over.unclaimed <= n_pages
        if window is not None:
            assert set(before) <= set(over.running), "a windowed request is never put off"
        for one in set(before) - set(over.running):
            put_off_at[one] = turn
        run_share(over, share)
        if chance.random() < 0.05 and (over.running or over.waiting):
            gone = chance.choice(over.running + over.waiting)
            gone.finish_reason = "cancelled"
            over.remove(gone)
        if not (arrivals or over.running or over.waiting):
            break
    assert all(one.finish_reason is not None for one in asked)
    assert over.unclaimed == n_pages


def test_the_last_to_come_is_put_off_and_comes_back_with_what_it_wrote() -> None:
    over = scheduler(10, None, seqs=4, chunk=64, budget=64)
    early, late = request(15, 20), request(15, 20)
    over.add(early)
    over.add(late)
    written: list[int] = []
    while early.finish_reason is None:
        share = step(over)
        written.append(len(late.output))
        run_share(over, share)
    assert late in over.waiting or late.finish_reason is None
    assert written == sorted(written), "nothing it wrote is lost"
    assert written[-1] < 20, "there were not pages for both"
    while late.finish_reason is None:
        run_share(over, step(over))
    assert len(late.output) == 20


def test_a_long_prompt_leaves_room_for_a_short_one() -> None:
    over = scheduler(1000, None, seqs=4, chunk=64, budget=20)
    long, short = request(500, 1), request(8, 1)
    over.add(long)
    over.add(short)
    assert dict(step(over)) == {short: 8, long: 12}


def test_decoding_comes_before_prompts() -> None:
    over = scheduler(1000, None, seqs=4, chunk=64, budget=10)
    streams = [request(1, 50) for _ in range(3)]
    for one in streams:
        over.add(one)
    run_share(over, step(over))
    long = request(500, 1)
    over.add(long)
    assert dict(step(over)) == {long: 7} | dict.fromkeys(streams, 1)


def test_priority_goes_first_and_nobody_waits_for_ever() -> None:
    over = scheduler(1000, None, seqs=1, chunk=64, budget=64)
    patient = request(1, 1, priority=1)
    over.add(patient)
    served = 0
    while patient.finish_reason is None:
        over.add(request(1, 1, priority=0))
        share = step(over)
        run_share(over, share)
        served += 1
        assert served < 3000
    assert served > 500, "the urgent ones went first"


def test_nobody_overtakes_one_that_does_not_fit() -> None:
    over = scheduler(10, 20, seqs=4, chunk=16, budget=64)
    first, large, small = request(20, 12), request(30, 10), request(1, 2)
    for one in (first, large, small):
        over.add(one)
    assert over.admit() == [first]
    assert over.waiting == [large, small]

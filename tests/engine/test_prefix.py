"""The prefix cache: what is found, that it is never what the ring has overwritten, and that warm answers are cold ones."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.config import ModelConfig
from tests.checkpoint.made import SMALL
from tests.engine.made import WINDOWLESS, check_books, engine, ids, request, run


def numbers(n: int, seed: int = 0) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(3, 60) for _ in range(n)]


GREEDY = {"temperature": 0, "ignore_eos": True}


@pytest.mark.parametrize("config", [SMALL, WINDOWLESS], ids=["window", "no window"])
def test_a_prompt_seen_before_is_not_computed_again(config: ModelConfig) -> None:
    over = engine(config=config)
    prompt = numbers(41)
    first, again, longer = (request(p, **GREEDY, max_tokens=3) for p in (prompt, prompt, [*prompt, 9, 9, 9]))
    run(over, first)
    assert (first.cached, over.stats.prompt_tokens) == (0, 41)
    run(over, again)
    assert again.cached == 40, "ten full pages of four"
    assert over.stats.prompt_tokens == 42
    assert again.output == first.output
    run(over, longer)
    assert longer.cached == 40
    assert over.stats.looked_up_tokens == 41 + 41 + 44
    assert over.stats.cached_tokens == 80


def test_at_least_one_token_is_left_to_compute() -> None:
    over = engine()
    run(over, request(numbers(40), **GREEDY, max_tokens=2))
    again = request(numbers(40), **GREEDY, max_tokens=2)
    run(over, again)
    assert again.cached == 36


def test_a_conversation_goes_on_where_it_ended() -> None:
    over = engine()
    first = request(numbers(10), **GREEDY, max_tokens=40)
    run(over, first)
    then = request([*first.prompt, *ids(first), 5, 6], **GREEDY, max_tokens=4)
    run(over, then)
    assert then.cached == 48, "what the first has written counts too, but for its last id, which was never run"


def test_a_hit_needs_only_the_pages_inside_the_window() -> None:
    """W 16, P 4: four pages before the end. The first pages of a long prompt may be gone."""
    over = engine(pages=9, chunk=4)
    prompt = numbers(60)
    run(over, request(prompt, **GREEDY, max_tokens=1))
    assert sum(over.pool.find(key) is not None for key in over_keys(over)) < 15, "the pool cannot have kept all"
    again = request(prompt, **GREEDY, max_tokens=5)
    run(over, again)
    assert again.cached == 56
    alone = request(prompt, **GREEDY, max_tokens=5)
    run(engine(prefix_caching=False), alone)
    assert again.output == alone.output


def over_keys(over: object) -> list[bytes]:
    return list(over.pool._page_of)  # type: ignore[attr-defined]


def test_an_earlier_cut_is_an_honest_miss_once_its_pages_are_gone() -> None:
    """A prompt that ends inside what the window has passed over, when the pool has lent those pages to others."""
    over = engine(pages=9, chunk=4)
    prompt = numbers(60)
    run(over, request(prompt, **GREEDY, max_tokens=20))
    early = request(prompt[:18], **GREEDY, max_tokens=6)
    run(over, early)
    assert early.cached == 0
    alone = request(prompt[:18], **GREEDY, max_tokens=6)
    run(engine(prefix_caching=False), alone)
    assert early.output == alone.output


def test_salts_keep_equal_ids_apart() -> None:
    over = engine()
    one, other = request(numbers(30), **GREEDY, max_tokens=1), request(numbers(30), **GREEDY, max_tokens=1)
    other.salt = b"adapter"
    run(over, one)
    run(over, other)
    assert other.cached == 0


def test_what_must_be_read_whole_takes_nothing_from_the_cache() -> None:
    over = engine()
    run(over, request(numbers(30), **GREEDY, max_tokens=1))
    whole = request(numbers(30), **GREEDY, max_tokens=1, prompt_logprobs=1)
    run(over, whole)
    assert whole.cached == 0
    assert len(whole.prompt_logprobs) == 29


def test_choices_of_one_prompt_compute_it_once() -> None:
    over = engine()
    first = request(numbers(33), temperature=1.0, seed=1, max_tokens=3, ignore_eos=True)
    rest = [request(numbers(33), temperature=1.0, seed=seed, max_tokens=3, ignore_eos=True) for seed in (2, 3)]
    for one in rest:
        one.leader = first
    run(over, first, *rest)
    assert [one.cached for one in rest] == [32, 32]
    assert over.stats.prompt_tokens == 33 + 1 + 1


def test_choices_that_must_read_their_prompt_do_not_wait_for_the_first() -> None:
    over = engine(chunk=8)
    first, other = (request(numbers(33), **GREEDY, max_tokens=3, prompt_logprobs=1) for _ in range(2))
    other.leader = first
    over.add(first)
    over.add(other)
    over.step()
    assert over.scheduler.running == [first, other]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 16]), st.integers(9, 40), st.sampled_from([1, 2, 4, 8]))
def test_warm_is_cold_over_many_turns(seed: int, chunk: int, pages: int, page_tokens: int) -> None:
    """Conversations that fork, wrap the ring and drive each other's pages out."""
    chance = random.Random(seed)
    pages = max(pages, -(-(16 + chunk) // page_tokens) + 1)
    over = engine(pages, chunk=chunk, page_tokens=page_tokens, seqs=2)
    histories = [numbers(chance.randint(1, 30), seed)]
    for _ in range(8):
        history = chance.choice(histories)
        history = history[: chance.randint(1, len(history))] if chance.random() < 0.4 else history
        prompt = [*history, *numbers(chance.randint(1, 6), chance.randrange(99))][-80:]
        warm, cold = (request(prompt, **GREEDY, max_tokens=10) for _ in range(2))
        run(over, warm)
        check_books(over)
        run(engine(prefix_caching=False), cold)
        assert warm.output == cold.output
        histories.append([*prompt, *ids(warm)])

"""What a request may ask for beyond the next id: penalties, biases, bounds, grammars, states, prompts read whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.config import ModelConfig
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Counts, adjusted, sample
from mistral7b.model.batch import Span, TokenBatch
from tests.checkpoint.made import SMALL
from tests.engine.made import EOS, MAX_LEN, WINDOWLESS, Chain, Guesses, check_books, engine, ids, network, request, run

GREEDY = {"temperature": 0, "ignore_eos": True}
LOGITS = torch.tensor([2.0, -1.0, 0.5, 3.0])


def test_penalties_as_defined() -> None:
    """Repetition: prompt and output (arXiv 1909.05858). Frequency and presence: the output alone (OpenAI API)."""
    params = SamplingParams(repetition_penalty=2.0, frequency_penalty=0.25, presence_penalty=1.0)
    counts = Counts.of([1, 1], [3, 3, 3], 4, torch.device("cpu"))
    found = adjusted(LOGITS, params, counts=counts)
    assert found.tolist() == pytest.approx([2.0, -2.0, 0.5, 3.0 / 2 - 3 * 0.25 - 1.0])


def test_bias_is_added_and_bars_cannot_be_bought() -> None:
    params = SamplingParams(logit_bias={0: 100.0, 1: 1.5})
    found = adjusted(LOGITS, params, barred=[0])
    assert int(found.argmax()) == 3
    assert float(found[1]) == 0.5
    assert sample(adjusted(LOGITS, params), params, 0, 0) == 0


def test_a_mask_shorter_than_the_vocabulary_forbids_the_rest() -> None:
    allowed = np.array([False, True, True])
    found = adjusted(LOGITS, SamplingParams(logit_bias={3: 100.0}), allowed=allowed)
    assert int(found.argmax()) == 2
    drawn = {sample(found, SamplingParams(temperature=50), 1, position) for position in range(100)}
    assert drawn == {1, 2}


@pytest.mark.parametrize("temperature", [0, 5e-324, 1.0, 1.7e308])
@pytest.mark.parametrize("penalty", [5e-324, 1.0, 1.7e308])
def test_no_number_lets_in_what_may_not_come(temperature: float, penalty: float) -> None:
    params = SamplingParams(temperature=temperature, repetition_penalty=penalty, logit_bias={3: 100.0})
    logits = torch.tensor([2.0, -math.inf, 0.0, 3.0, -5.0])
    counts = Counts.of(range(5), [3], 5, torch.device("cpu"))
    for may in ([1], [2], [0, 1, 2]):
        found = adjusted(logits, params, counts=counts, allowed=np.isin(np.arange(4), may), barred=[3])
        kept = {sample(found, params, 1, position) for position in range(50)}
        assert kept <= set(may)


def test_min_p_is_a_share_of_the_likeliest() -> None:
    weights = (LOGITS - LOGITS.max()).exp()
    for min_p, kept in ((float(weights[2]) - 1e-4, {0, 2, 3}), (float(weights[2]) + 1e-4, {0, 3}), (1.0, {3})):
        params = SamplingParams(min_p=min_p)
        assert {sample(LOGITS, params, 5, position) for position in range(600)} == kept


def test_a_repetition_penalty_counts_what_is_written_drafts_or_not() -> None:
    plain, tried = (request([5, 6], **GREEDY, repetition_penalty=3.0, max_tokens=20) for _ in range(2))
    run(engine(), plain)
    over = engine()
    over.drafts = Guesses({tried: ids(plain)}, lies=0.2)
    run(over, tried)
    assert tried.output == plain.output
    free = request([5, 6], **GREEDY, max_tokens=20)
    run(engine(), free)
    assert ids(free) != ids(plain)


def test_min_tokens_bars_the_end() -> None:
    free = request([5, 6, 7], temperature=0, max_tokens=20)
    third = run_and(free)[2]
    held = request([5, 6, 7], temperature=0, max_tokens=20, stop_token_ids=[third], min_tokens=8)
    assert third not in run_and(held)[:8]
    assert len(held.output) >= 8


def run_and(one: Request) -> list[int]:
    run(engine(), one)
    return ids(one)


def test_a_prompt_can_be_read_without_an_answer() -> None:
    one = request([5, 6, 7, 8, 9] * 7, **GREEDY, max_tokens=0, prompt_logprobs=2)
    over = engine(chunk=8)
    run(over, one)
    assert (one.output, one.finish_reason) == ([], "length")
    logits = network()(TokenBatch.pack([Span(one.prompt, logits="all")])).log_softmax(-1)
    assert len(one.prompt_logprobs) == 34
    for place, found in enumerate(one.prompt_logprobs):
        assert found.id == one.prompt[place + 1]
        assert found.logprob == pytest.approx(float(logits[place, found.id]), abs=1e-4)
        assert found.top[0][1] == pytest.approx(float(logits[place].max()), abs=1e-4)
    assert over.pool.n_free == over.pool.n_pages


@pytest.mark.parametrize("chunk", [3, 16])
def test_pooled_states_are_their_sum(chunk: int) -> None:
    prompt = [5, 6, 7, 8, 9] * 7
    one = request(prompt, **GREEDY, max_tokens=0)
    one.pooled = torch.zeros(SMALL.dim, dtype=torch.float64)
    run(engine(chunk=chunk), one, request([1, 2, 3], **GREEDY, max_tokens=9))
    states = network().hidden(TokenBatch.pack([Span(prompt)]))
    torch.testing.assert_close(one.pooled, states.double().sum(0), atol=1e-3, rtol=0)
    alone = request(prompt, **GREEDY, max_tokens=0)
    alone.pooled = torch.zeros(SMALL.dim, dtype=torch.float64)
    run(engine(), alone)
    assert alone.pooled.float().equal(one.pooled.float())


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 40), st.sampled_from([0, 0.9]), st.booleans())
def test_forced_ids_are_those_a_mask_would_have_let_through(seed: int, length: int, temperature: float, report: bool) -> None:
    after = [[10 + seed % 7], [20, 21], [30], [40, 3], [50]]
    asked = {"temperature": temperature, "seed": seed, "max_tokens": 60, "logprobs": 2 if report else None}
    plain, quick = (request([5, 6, 7], Chain(after, length), **asked) for _ in range(2))
    plain.constraint.forced = list  # type: ignore[union-attr, method-assign]
    run(engine(), plain)
    over = engine()
    run(over, quick)
    assert quick.output == plain.output
    assert quick.finish_reason == "stop"
    assert ids(quick)[-1] == EOS
    if length > 20:
        assert over.stats.forced_tokens > 0
        assert over.stats.steps < len(quick.output)


def test_a_grammar_ends_where_min_tokens_would_not() -> None:
    one = request([5], Chain([[9]], 3), temperature=0, max_tokens=20, min_tokens=10)
    assert run_and(one) == [9, 9, 9, EOS]


def test_a_grammar_that_fails_ends_its_request_alone() -> None:
    class Broken(Chain):
        def mask(self) -> object:
            raise ValueError("no\nrule")

    bad = request([5], Broken([[9], [8, 7]], 9), temperature=0, max_tokens=20)
    nothing = request([5], Chain([[]], 9), temperature=0, max_tokens=20)
    good, alone = (request([6, 7], **GREEDY, max_tokens=9) for _ in range(2))
    over = engine()
    run(over, bad, nothing, good)
    run(engine(), alone)
    assert (bad.finish_reason, bad.error) == ("error", "no rule")
    assert nothing.error == "the grammar lets nothing follow"
    assert good.output == alone.output
    assert over.pool.n_free == over.pool.n_pages


def test_logits_that_are_not_finite_end_the_request() -> None:
    broken = network().__class__(SMALL)
    broken.load_state_dict({name: torch.full_like(t, math.nan) for name, t in network().state_dict().items()})
    over = engine()
    over.model = broken.requires_grad_(False)
    one = request([5], **GREEDY)
    run(over, one)
    assert (one.finish_reason, one.output) == ("not_finite", [])


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(1, 60), st.sampled_from([SMALL, WINDOWLESS]), st.sampled_from([1, 4, 16]))
def test_a_kept_state_goes_on_in_another_engine(seed: int, length: int, config: ModelConfig, page_tokens: int) -> None:
    first = request([5 + seed % 9, 6, 7], temperature=0.7, seed=seed, max_tokens=length, ignore_eos=True)
    first.keep_state = True
    run(engine(config=config), first)
    assert first.state is not None
    assert list(first.state.ids) == first.ids(0, first.length - 1)
    prompt = [*first.ids(0, first.length), 11, 12, 13]
    whole, resumed = (request(prompt, temperature=0.7, seed=3, max_tokens=15, ignore_eos=True) for _ in range(2))
    resumed.state = first.state
    run(engine(config=config, prefix_caching=False), whole)
    over = engine(96, config=config, page_tokens=page_tokens, chunk=7)
    over.add(resumed)
    while not over.idle:
        over.step()
        check_books(over)
    assert resumed.output == whole.output
    assert resumed.cached == first.length - 1
    assert over.stats.prompt_tokens == 4
    after = request([*prompt[:-2], 1, 2, 3], **GREEDY, max_tokens=9)
    cold = request([*prompt[:-2], 1, 2, 3], **GREEDY, max_tokens=9)
    run(over, after)
    run(engine(config=config, prefix_caching=False), cold)
    assert after.output == cold.output, "a page that was restored in part is not shared as a whole one"


def test_requests_put_off_lose_nothing() -> None:
    asked = [request([n, n + 1] * 8, temperature=0.8, seed=n, max_tokens=50, ignore_eos=True) for n in range(5, 11)]
    over = engine(30, config=WINDOWLESS, seqs=6)
    run(over, *asked)
    assert over.stats.preemptions > 0
    for one in asked:
        alone = request(list(one.prompt), temperature=0.8, seed=one.params.seed, max_tokens=50, ignore_eos=True)
        run(engine(config=WINDOWLESS), alone)
        assert one.output == alone.output


def test_what_was_put_off_tells_of_its_prompt_alone_what_was_cached() -> None:
    asked = [request([n, n + 1] * 4, **GREEDY, max_tokens=60) for n in range(5, 11)]
    over = engine(30, config=WINDOWLESS, seqs=6)
    run(over, *asked)
    assert over.stats.preemptions > 0
    assert [one.cached for one in asked] == [0] * 6


def test_drafts_save_steps_and_change_nothing() -> None:
    plain = request([5, 6, 7], temperature=0.9, seed=4, max_tokens=80, ignore_eos=True)
    run(engine(), plain)
    for lies in (0.0, 0.3, 1.0):
        tried = request([5, 6, 7], temperature=0.9, seed=4, max_tokens=80, ignore_eos=True)
        guesses = Guesses({tried: ids(plain)}, lies)
        over = engine(drafts=guesses)
        run(over, tried)
        assert tried.output == plain.output, "80 tokens wrap the window of 16 five times"
        assert sum(drafted for drafted, _ in guesses.told) == over.stats.drafted_tokens
        assert sum(right for _, right in guesses.told) == over.stats.accepted_tokens
        assert (over.stats.steps < 40) if lies == 0 else over.stats.steps <= 80
    assert MAX_LEN > 83

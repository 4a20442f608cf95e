"""The draft model: drafts never change what is written, its cache stays that of a fresh one, and its pages come back."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.engine.draft_model import DraftModel, check_pair
from mistral7b.engine.drafts import Drafts, PricedDrafter
from mistral7b.engine.engine import Engine
from mistral7b.engine.lookup import Lookup
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled
from mistral7b.engine.worth import Worth
from mistral7b.errors import MismatchError
from mistral7b.model.pages import PagePool
from mistral7b.tokens.tokenizer import Tokenizer
from tests.equivalence.networks import network, random_ids, small

MAX_LEN = 90
TARGET = network(small(sliding_window=16), seed=1)
OTHER = network(small(sliding_window=8, n_layers=1), seed=2)


def request(prompt: list[int], max_len: int = MAX_LEN, **params: object) -> Request:
    chosen = {"temperature": 0, "max_tokens": None, "ignore_eos": True, "seed": 7} | params
    return Request.make(prompt, SamplingParams(**chosen), max_len, [2])  # type: ignore[arg-type]


def drafter(model: object = TARGET, *, pages: int = 200, max_len: int = MAX_LEN, most: int = 7, **options: object) -> DraftModel:
    pool = PagePool(model.config, pages, page_tokens=4)  # type: ignore[attr-defined]
    return DraftModel(model, pool, max_model_len=max_len, num_draft_tokens=most, **options)  # type: ignore[arg-type]


def take(one: Request, ids: Iterable[int]) -> None:
    one.output += [Sampled(id) for id in ids]


def written(engine: Engine, *requests: Request) -> list[list[int]]:
    for one in requests:
        engine.add(one)
    while not engine.idle:
        engine.step()
    return [[sampled.id for sampled in one.output] for one in requests]


class Willing(Worth):
    """Runs whatever is offered, whatever it costs: what this machine is busy with decides nothing."""

    def share(self, offers: Sequence[tuple[Hashable, int]], *_: object) -> list[int]:
        return [length for _, length in offers]


def target_engine(*drafters: PricedDrafter, worth: Worth | None = None) -> Engine:
    drafts = Drafts(drafters, worth or Willing()) if drafters else None
    return Engine(TARGET, PagePool(TARGET.config, 200, page_tokens=4), max_model_len=MAX_LEN, drafts=drafts)


SAMPLED = {"temperature": 0.9, "top_p": 0.9, "top_k": 20, "min_p": 0.01}
COUNTED = {"temperature": 0.7, "repetition_penalty": 1.3, "frequency_penalty": 0.2}
BIASED = {"temperature": 0.7, "logit_bias": {3: 2.0}, "min_tokens": 30, "stop_token_ids": [5]}


@pytest.mark.parametrize("params", [{}, SAMPLED, BIASED], ids=["greedy", "sampled", "biased"])
def test_a_draft_that_is_the_target_is_always_right(params: dict[str, object]) -> None:
    """Across several wraps of the window of 16."""
    truth = written(target_engine(), request([4, 5, 6], **params))[0]
    one, model = request([4, 5, 6], **params), drafter()
    while (done := len(one.output)) < len(truth):
        drafts = model.propose([(one, 7)])[0]
        assert drafts == truth[done : done + 7]
        take(one, truth[done : done + len(drafts) + 1])


@pytest.mark.parametrize("params", [{}, SAMPLED, COUNTED], ids=["greedy", "sampled", "penalised"])
def test_the_engine_writes_the_same_with_any_drafts(params: dict[str, object]) -> None:
    prompts = [random_ids(length, seed=length) for length in (1, 30)] + [[7, 8, 9] * 6]

    def asked() -> list[Request]:
        return [request(prompt, **params | {"max_tokens": 25}) for prompt in prompts]

    plain = written(target_engine(), *asked())
    same, other = drafter(), drafter(OTHER, catch_up=8)
    for drafters in ([same], [other, Lookup()]):
        engine = target_engine(*drafters)
        assert written(engine, *asked()) == plain
        assert engine.stats.drafted_tokens > 0
        if drafters == [same] and params != COUNTED:
            assert engine.stats.accepted_tokens == engine.stats.drafted_tokens
    for model in (same, other):
        assert model.pool.n_free == model.pool.n_pages


def test_the_engine_writes_the_same_when_what_pays_is_decided_by_measured_steps() -> None:
    prompts = [random_ids(length, seed=length) for length in (1, 30)]
    plain = written(target_engine(), *(request(prompt) for prompt in prompts))
    worth = Worth()
    engine = target_engine(Lookup(), drafter(), worth=worth)
    assert written(engine, *(request(prompt) for prompt in prompts)) == plain
    assert worth.cost.known


@settings(max_examples=15)
@given(
    st.sampled_from([1, 3, 8, 16, None]),
    st.sampled_from([1, 4, 16]),
    st.lists(st.tuples(st.integers(0, 7), st.integers(1, 12)), min_size=1, max_size=14),
)
def test_its_cache_is_that_of_a_fresh_one(window: int | None, page_tokens: int, rounds: list[tuple[int, int]]) -> None:
    """Rounds of (ids asked for, ids really taken, most of them not the drafted ones): the next drafts tell every bit."""
    model, ids = network(small(sliding_window=window), seed=3), random_ids(MAX_LEN + 20, seed=4)

    def fresh(catch_up: int) -> DraftModel:
        pool = PagePool(model.config, 200, page_tokens=page_tokens)
        return DraftModel(model, pool, max_model_len=MAX_LEN + 20, catch_up=catch_up)

    one, kept = request(ids[:5], MAX_LEN), fresh(9)
    for most, gained in rounds:
        again = request(ids[:5], MAX_LEN)
        take(again, ids[5 : one.length])
        drafts = kept.propose([(one, most)])
        while most and not drafts[0]:  # it may be far behind
            drafts = kept.propose([(one, most)])
        assert drafts == fresh(MAX_LEN).propose([(again, most)])
        take(one, ids[one.length : min(MAX_LEN - 1, one.length + gained)])
    kept.leave(one)
    assert kept.pool.n_free == kept.pool.n_pages


def test_asked_again_it_says_the_same_and_more() -> None:
    """A step that was not taken is taken again; nothing has been read since."""
    one, other, model = request(random_ids(20)), request([8, 9]), drafter()
    first = model.propose([(one, 3)])[0]
    more, new = model.propose([(one, 6), (other, 2)])
    assert more[:3] == first
    assert more == drafter().propose([(one, 6)])[0]
    assert len(new) == 2
    assert model.propose([(one, 2)])[0] == first[:2]


def test_a_long_prompt_is_read_over_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = drafter(catch_up=16), list[int]()
    forward = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda batch, pool: rows.append(len(batch.ids)) or forward(batch, pool))
    long, short = request(random_ids(40)), request([3, 4])
    assert model.propose([(long, 3), (short, 3)])[0] == []
    assert rows == [16, 1, 1], "the short one is read first, and drafts; the long one has what is left"
    for _ in range(2):
        before = model.propose([(long, 3)])
    assert len(before[0]) == 3
    assert max(rows) == 16


def test_a_request_that_does_not_fit_waits_until_another_has_left() -> None:
    model = drafter(pages=12, max_len=40)
    one, two = (request([n, n + 1], 40) for n in (3, 9))
    assert [len(ids) for ids in model.propose([(one, 4), (two, 4)])] == [4, 0]
    model.leave(one)
    model.leave(one)
    assert len(model.propose([(two, 4)])[0]) == 4
    model.leave(two)
    assert model.pool.n_free == 12


def test_nothing_is_drafted_beyond_the_context() -> None:
    model = drafter(max_len=20)
    one = request(random_ids(16), MAX_LEN)
    for length in range(16, 24):
        assert one.length == length
        assert len(model.propose([(one, 7)])[0]) == max(0, min(7, 20 - length))
        take(one, [1])
    assert model.propose([(request(random_ids(20)), 7)]) == [[]]
    assert model.propose([]) == []


def test_logits_that_are_not_finite_give_no_drafts() -> None:
    broken = network(small(), seed=5)
    broken.output.weight.data[3, 0] = float("nan")
    assert drafter(broken).propose([(request([4, 5]), 7)]) == [[]]


def test_the_price_of_an_id_is_that_of_short_forwards() -> None:
    ticks = iter([0.0, 10.0, 10.5, 11.0, 11.5, 20.0, 20.2])
    model = drafter(clock=lambda: next(ticks))
    assert model.id_seconds == 0
    one = request(random_ids(30))
    assert len(model.propose([(one, 3)])[0]) == 3
    assert model.id_seconds == pytest.approx(0.5), "the 10 s of the prompt's 30 ids do not count"
    take(one, [4])
    model.propose([(one, 1)])
    assert model.id_seconds == pytest.approx(0.47)


def test_a_draft_of_another_vocabulary_is_refused() -> None:
    v1, v2, v3 = (Tokenizer.published(version) for version in ("v1", "v2", "v3"))
    config = small(vocab_size=v3.vocab_size)
    check_pair(config, replace(config, dim=16, sliding_window=None), v3, v2)  # they differ in control ids only
    check_pair(config, config, v3, None)
    with pytest.raises(MismatchError, match=r"the draft model has 64 ids, not 32,768") as refused:
        check_pair(config, small(vocab_size=64), v3, v3)
    assert "\n" not in str(refused.value)
    with pytest.raises(MismatchError, match="tokenizer of the draft model has 32,000 ids"):
        check_pair(config, config, v3, v1)


def test_a_draft_whose_ids_mean_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Tokenizer.published("v1"), Tokenizer.published("v1")
    piece = theirs.piece
    monkeypatch.setattr(theirs, "piece", lambda id: "other" if id == 31_000 else piece(id))
    config = small(vocab_size=32_000)
    with pytest.raises(MismatchError, match="id 31000 is 'other' to the draft model"):
        check_pair(config, config, ours, theirs)

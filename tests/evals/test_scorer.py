"""Scores: those of the whole sequence run alone, whatever is asked beside it, whatever is shared, and in how few pages."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.errors import NumericError, RequestError
from mistral7b.evals import scorer as module
from mistral7b.evals.scorer import Pair, Score, Scorer
from mistral7b.model.batch import Span, TokenBatch
from tests.checkpoint.made import SMALL
from tests.engine.made import MAX_LEN, engine, network

VOCABULARY = SMALL.vocab_size


def scorer(pages: int = 200, *, window: int | None = SMALL.sliding_window, **options: Any) -> Scorer:
    config = replace(SMALL, sliding_window=window)
    over = engine(pages, config=config, **options)
    llm: Any = SimpleNamespace(model=over.model, engine=over, max_model_len=MAX_LEN, route=lambda _: (None, b""))
    return Scorer(llm)


def by_hand(pair: Pair, window: int | None) -> Score:
    """Without a cache, the whole sequence in one forward, all its logits."""
    context, continuation = pair
    ids = [*context, *continuation][-(MAX_LEN + 1) :]
    logits = network(replace(SMALL, sliding_window=window))(TokenBatch.pack([Span(ids[:-1], logits="all")]))
    rows = logits[-len(continuation) :].double().log_softmax(-1)
    likeliest = rows.argmax(-1).tolist()
    return Score(sum(float(row[id]) for row, id in zip(rows, continuation, strict=True)), likeliest == list(continuation))


def some(chance: random.Random, heads: int, items: int, choices: int) -> list[Pair]:
    def draw(most: int) -> list[int]:
        return [chance.randrange(VOCABULARY) for _ in range(chance.randint(1, most))]

    pairs: list[Pair] = []
    for _ in range(heads):
        head = draw(50)
        for _ in range(items):
            item = [*head, *draw(30)]
            pairs += [(item, draw(6)) for _ in range(choices)]
    return pairs


@pytest.mark.parametrize("window", [SMALL.sliding_window, None, 1])
def test_scores_are_those_of_the_whole_sequence(window: int | None) -> None:
    chance = random.Random(1)
    pairs = some(chance, 2, 3, 3)
    ids = [chance.randrange(VOCABULARY) for _ in range(10)]
    best = int(network(replace(SMALL, sliding_window=window))(TokenBatch.pack([Span(ids)]))[0].argmax())
    pairs += [(ids, [best]), (ids, [best, 1, 2]), ([*ids, best], [1]), (ids[:3], ids[3:]), (ids * 20, [5]), (ids, ids * 9)]
    found = scorer(window=window).score(pairs)
    for pair, score in zip(pairs, found, strict=True):
        expected = by_hand(pair, window)
        assert score.logprob == pytest.approx(expected.logprob, abs=1e-4)
        assert score.greedy == expected.greedy
    assert found[len(pairs) - 6].greedy
    assert not found[len(pairs) - 5].greedy


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), window=st.sampled_from([SMALL.sliding_window, None]), rows=st.sampled_from([9, 1024]),
       spare=st.integers(0, 30), chunk=st.sampled_from([None, 3]))  # fmt: skip
def test_alone_and_together_and_in_few_pages_give_the_same_bits(
    seed: int, window: int | None, rows: int, spare: int, chunk: int | None
) -> None:
    chance = random.Random(seed)
    pairs = some(chance, 2, 2, 2)
    chance.shuffle(pairs)
    roomy = scorer(window=window)
    alone = [roomy.score([pair])[0] for pair in pairs]
    least = scorer(window=window, chunk=chunk).engine.slots
    tight = scorer(least + spare, window=window, chunk=chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS", rows)
        assert tight.score(pairs) == alone
    assert tight.pool.n_free == tight.pool.n_pages
    assert roomy.score(pairs) == alone


def test_what_is_shared_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    over = scorer()
    run: list[int] = []
    hidden = over.model.hidden

    def counted(batch: TokenBatch, pool: Any = None) -> torch.Tensor:
        run.append(len(batch.ids))
        return hidden(batch, pool)

    monkeypatch.setattr(over.model, "hidden", counted)
    head, items = [7] * 40, [[i] * 5 for i in range(10, 20)]
    over.score([([*head, *item], answer) for item in items for answer in ([1], [2], [3], [4, 5, 6], [4, 5, 7])])
    assert sum(run) == 40 + 10 * (5 + 2)
    assert len(run) == 4, "the head in chunks of 16, then all items at once"


def test_progress_and_order() -> None:
    pairs = some(random.Random(3), 1, 2, 2)
    told: list[tuple[int, int]] = []
    over = scorer()
    found = over.score(pairs, lambda done, total: told.append((done, total)))
    assert told == [(n, 4) for n in range(1, 5)]
    assert dict(over.stream(pairs)) == dict(enumerate(found))
    assert over.score([]) == []


def test_a_stream_that_is_left_gives_its_pages_back() -> None:
    over = scorer()
    stream = over.stream(some(random.Random(4), 2, 4, 3))
    next(stream)
    stream.close()
    assert over.pool.n_free == over.pool.n_pages


@pytest.mark.parametrize(
    ("pair", "said"),
    [(([], [1]), "no context"), (([1], []), "no continuation"), (([1], [1] * (MAX_LEN + 1)), "a continuation has 97 tokens"),
     (([1], [VOCABULARY]), "not one of this model"), (([-1], [1]), "not one of this model")],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(pair: Pair, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        scorer().score([([1], [2]), pair])


def test_logits_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    over = scorer()
    monkeypatch.setattr(over.model, "logits", lambda states: torch.full((len(states), VOCABULARY), float("nan")))
    with pytest.raises(NumericError, match="not finite"):
        over.score([([1], [2])])
    assert over.pool.n_free == over.pool.n_pages

"""The sampler against definitions written out, and its independence of everything but its arguments."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mistral7b.engine.params import SamplingParams
from mistral7b.engine.sampler import _truncated, report, sample, uniform
from mistral7b.errors import RequestError

LOGITS = torch.tensor([0.5, 2.0, -1.0, 1.0, 2.0])


def test_greedy_takes_the_largest_and_the_first_of_equals() -> None:
    assert sample(LOGITS, SamplingParams(temperature=0), seed=1, position=0) == 1


def test_logprobs_are_natural_logs_before_temperature() -> None:
    found = report(LOGITS, 1, 2)
    expected = LOGITS.double().log_softmax(-1)
    assert found.logprob == pytest.approx(float(expected[1]), abs=1e-6)
    assert found.rank == 1
    assert sorted(id for id, _ in found.top) == [1, 4]
    assert report(LOGITS, 1, 0).top == ()
    assert report(LOGITS, 1, None).logprob is None


def draws(n: int, **params: float) -> Counter[int]:
    asked = SamplingParams(**params)  # type: ignore[arg-type]
    return Counter(sample(LOGITS, asked, seed=7, position=position) for position in range(n))


def test_frequencies_are_the_softmax() -> None:
    found, n = draws(4000, temperature=1.5), 4000
    expected = (LOGITS.double() / 1.5).softmax(-1)
    for id in range(5):
        share = float(expected[id])
        assert abs(found[id] / n - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_top_k_and_top_p_keep_the_head_only() -> None:
    assert set(draws(400, top_k=2)) == {1, 4}
    assert set(draws(200, top_k=1)) == {1}
    mass = (LOGITS.softmax(-1)[[1, 4]]).sum()
    assert set(draws(400, top_p=float(mass) - 0.01)) == {1, 4}
    assert set(draws(400, top_p=float(mass) + 0.01)) == {1, 3, 4}
    assert set(draws(200, top_p=1e-9)) == {1}


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.floats(0.05, 5), st.floats(0.01, 1), st.integers(0, 6))
def test_a_draw_depends_on_its_arguments_alone(seed: int, position: int, temperature: float, top_p: float, top_k: int) -> None:
    params = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k)
    first = sample(LOGITS, params, seed, position)
    sample(LOGITS, SamplingParams(), seed=3, position=9)
    assert sample(LOGITS, params, seed, position) == first
    kept = LOGITS.argsort(descending=True, stable=True)[: top_k or 5]
    assert first in kept.tolist()


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 0.9, 0.999, 1]), st.sampled_from([0, 1, 3, 700, 5000]), st.booleans())
def test_a_large_vocabulary_is_truncated_as_a_whole_sort_would(seed: int, top_p: float, top_k: int, flat: bool) -> None:
    """2,000 ids, many of equal weight, beside a plain definition: sort all, cut."""
    assume(top_k or top_p < 1)
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(2000, generator=generator) * (0.1 if flat else 4)).mul(4).round().div(4)
    weights = (logits.double() - logits.max()).exp()
    values, order = weights.sort(descending=True, stable=True)
    values = values[: top_k or None]
    before = values.cumsum(0) - values
    kept = set(order[: len(values)][before < top_p * values.sum() * (1 + 1e-12)].tolist())
    surely = set(order[: len(values)][before < top_p * values.sum() * (1 - 1e-12)].tolist())
    params = SamplingParams(top_p=top_p, top_k=top_k)
    found = set(np.flatnonzero(_truncated(weights.numpy(), params)).tolist())
    assert surely <= found <= kept


def test_uniform_numbers_differ_by_seed_and_position() -> None:
    numbers = {uniform(seed, position) for seed in range(20) for position in range(20)}
    assert len(numbers) == 400
    assert all(0 <= number < 1 for number in numbers)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1), ("temperature", float("nan")), ("temperature", float("inf")), ("temperature", "hot"),
        ("top_p", 0), ("top_p", 1.1), ("top_k", -1), ("top_k", 1.5), ("max_tokens", -1), ("max_tokens", True),
        ("seed", -1), ("seed", 2**64), ("logprobs", 65), ("stop", ""), ("stop", ("a", "")), ("stop_token_ids", (-1,)),
    ],
)  # fmt: skip
def test_senseless_values_are_named(field: str, value: object) -> None:
    with pytest.raises(RequestError, match=field.split("_")[0]) as caught:
        SamplingParams(**{field: value})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("temperature", [1e-5, 1e-300, 5e-324, 1e300])
def test_extreme_temperatures_are_limits_not_accidents(temperature: float) -> None:
    found = {sample(LOGITS, SamplingParams(temperature=temperature), seed=3, position=p) for p in range(100)}
    assert found <= {1, 4} if temperature < 1 else found == set(range(5))


def test_none_is_an_empty_list_of_stops() -> None:
    params = SamplingParams(stop=None, stop_token_ids=None)
    assert params.stop == params.stop_token_ids == ()
    with pytest.raises(RequestError, match="stop_token_ids must be a list"):
        SamplingParams(stop_token_ids=2)  # type: ignore[arg-type]

"""The shuffle: every index once, whatever the size and the key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.permutation import Permutation


@given(size=st.integers(0, 3000), key=st.text(max_size=5))
def test_it_is_a_bijection(size: int, key: str) -> None:
    order = Permutation(size, key)
    assert sorted(order[i] for i in range(size)) == list(range(size))
    assert len(order) == size


@given(size=st.integers(1, 2**62), data=st.data())
def test_large_ranges_stay_in_range_and_apart(size: int, data: st.DataObject) -> None:
    order = Permutation(size, "k")
    chosen = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=50))
    found = {order[i] for i in chosen}
    assert len(found) == len(chosen)
    assert all(0 <= at < size for at in found)


def test_keys_give_other_orders_and_the_same_key_the_same() -> None:
    first, again, other = (Permutation(1000, key) for key in ("a", "a", "b"))
    assert [first[i] for i in range(1000)] == [again[i] for i in range(1000)]
    assert sum(first[i] == other[i] for i in range(1000)) < 20
    assert [Permutation(10, "a")[i] for i in range(10)] == [3, 4, 9, 6, 2, 8, 0, 7, 5, 1], "the order of runs begun before"


def test_it_is_shuffled_evenly() -> None:
    """Chi-squared of where the first tenth goes, ten bins over 100 keys: 9 degrees of freedom, so above 27.9 once in 1,000."""
    bins = [0] * 10
    for key in range(100):
        order = Permutation(1000, str(key))
        for i in range(100):
            bins[order[i] // 100] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in bins) < 27.9


@pytest.mark.parametrize("index", [-1, 5])
def test_outside_the_range(index: int) -> None:
    with pytest.raises(IndexError):
        Permutation(5, "k")[index]

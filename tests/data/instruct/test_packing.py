"""Rows of whole samples: each sample once an epoch, no row too long, targets and borders that keep samples apart."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.instruct.packing import Packed
from mistral7b.data.instruct.samples import Samples
from mistral7b.data.pack import IGNORED
from mistral7b.errors import DataError


def made(*files: list[int], seed: int = 0) -> Samples:
    """Samples of the given lengths; every id is told apart from all others."""
    lengths = [length for file in files for length in file]
    trained = np.random.default_rng(seed).random(sum(lengths)) < 0.5
    borders = np.array([0, *np.cumsum(lengths)], np.int64)
    trained[borders[:-1]] = False
    ends = tuple(int(end) for end in np.cumsum([len(file) for file in files]))
    return Samples(np.arange(sum(lengths), dtype=np.int32), trained, borders, ends)


LENGTHS = st.lists(st.integers(2, 12), min_size=1, max_size=30)


@given(lengths=LENGTHS, length=st.integers(12, 30), seed=st.integers(0, 3), packing=st.booleans())
def test_an_epoch_holds_each_sample_once_and_whole(lengths: list[int], length: int, seed: int, packing: bool) -> None:
    samples = made(lengths)
    packed = Packed(samples, 1, length, seed, packing)
    seen = []
    for i in range(packed.rows):
        row = packed.row(i)
        assert len(row.ids) <= length
        assert row.ids.dtype == row.targets.dtype == row.borders.dtype == np.int64
        for sample, (begin, end) in zip(packed.members(i), pairwise(row.borders), strict=True):
            span = slice(samples.borders[sample], samples.borders[sample + 1])
            assert row.ids[begin:end].tolist() == samples.ids[span].tolist()
            learned = [int(id) if mark else IGNORED for id, mark in zip(samples.ids[span], samples.trained[span], strict=True)]
            assert row.targets[begin:end].tolist() == [*learned[1:], IGNORED]
            seen.append(sample)
    assert sorted(seen) == list(range(len(samples)))
    if not packing:
        assert packed.rows == len(samples)


@given(lengths=LENGTHS, length=st.integers(12, 30))
def test_first_fit_leaves_no_two_rows_that_fit_into_one(lengths: list[int], length: int) -> None:
    packed = Packed(made(lengths), 1, length, 0)
    used = sorted(len(packed.row(i).ids) for i in range(packed.rows))
    assert len(used) < 2 or used[0] + used[1] > length


def test_rows_are_a_function_of_seed_and_number() -> None:
    samples = made([3, 5, 7, 2] * 10)
    one, same, other = (Packed(samples, 2, 16, seed) for seed in (1, 1, 2))
    assert [one.members(i) for i in range(one.rows)] == [same.members(i) for i in range(same.rows)]
    assert [one.members(i) for i in range(one.rows)] != [other.members(i) for i in range(other.rows)]
    half = one.rows // 2
    assert [one.members(i) for i in range(half)] != [one.members(i) for i in range(half, one.rows)]
    with pytest.raises(IndexError):
        one.row(one.rows)


def test_epochs_of_each_file_and_fractions() -> None:
    samples = made([4] * 10, [4] * 20, [4] * 5)
    packed = Packed(samples, [2, 0.25, 0], 16, 0)
    times = Counter(sample for i in range(packed.rows) for sample in packed.members(i))
    assert [times[sample] for sample in range(10)] == [2] * 10
    assert Counter(times[sample] for sample in range(10, 30)) == {1: 5, 0: 15}
    assert not any(times[sample] for sample in range(30, 35))


def test_what_cannot_be_packed() -> None:
    for epochs, says in (([1.0, 1.0], "2|1 files"), (-1.0, "0 or more"), (float("nan"), "0 or more"), (0, "raise them")):
        with pytest.raises(DataError, match=says):
            Packed(made([4]), epochs, 16, 0)
    with pytest.raises(DataError, match="a sample has 17 tokens and a row 16"):
        Packed(made([4, 17]), 1, 16, 0)

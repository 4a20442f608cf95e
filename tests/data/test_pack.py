"""Rows: every token once an epoch, documents apart, the same row whenever it is asked for."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.pack import IGNORED, Mixture, Row, _offset
from mistral7b.data.permutation import Permutation
from mistral7b.errors import DataError
from tests.data.made import BOS, EOS, shards

LENGTHS = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6), min_size=1, max_size=4)


def numbered(lengths: list[list[int]], first: int = 3) -> list[list[list[int]]]:
    """Shards of documents of so many inner tokens, every inner token another number."""
    made, at = [], first
    for shard in lengths:
        documents = []
        for n in shard:
            documents.append([BOS, *range(at, at + n), EOS])
            at += n
        made.append(documents)
    return made


def everything(mixture: Mixture) -> list[Row]:
    return [mixture.row(i) for i in range(mixture.rows)]


def ring(made: list[list[list[int]]]) -> list[int]:
    return [id for documents in made for ids in documents for id in ids]


@given(lengths=LENGTHS, length=st.integers(1, 20), seed=st.integers(0, 3), dtype=st.sampled_from(["uint16", "uint32"]))
def test_rows_are_the_ring_cut_end_to_end(lengths: list[list[int]], length: int, seed: int, dtype: str) -> None:
    made = numbered(lengths)
    flat = ring(made)
    with tempfile.TemporaryDirectory() as folder:
        held = shards(Path(folder), {"a": made}, dtype=dtype)
        if len(flat) < length:
            with pytest.raises(DataError, match="less than one row"):
                Mixture(held, "train", {"a": 1}, length, seed)
            return
        mixture = Mixture(held, "train", {"a": 3}, length, seed)
        per_epoch = len(flat) // length
        assert mixture.rows == 3 * per_epoch
        begins = {border % len(flat) for border in np.cumsum([len(ids) for documents in made for ids in documents]).tolist()}
        for epoch in range(3):
            cuts = sorted((mixture.place(i)[2], i) for i in range(mixture.rows) if mixture.place(i)[1] == epoch)
            assert [cut for cut, _ in cuts] == list(range(per_epoch))
            rows = [mixture.row(i) for _, i in cuts]
            start = _offset(seed, "a", epoch, length)
            assert [id for row in rows for id in row.ids.tolist()] == (flat + flat)[start : start + per_epoch * length]
            _check(rows, flat, begins, start, length)


def _check(rows: list[Row], flat: list[int], begins: set[int], start: int, length: int) -> None:
    """Each row against a plain reading of the ring: inputs, targets, borders."""
    n = len(flat)
    for cut, row in enumerate(rows):
        at = start + cut * length
        inner = [j for j in range(1, length) if (at + j) % n in begins]
        assert row.borders.tolist() == [0, *inner, length]
        for j in range(length):
            follows = (at + j + 1) % n
            expected = IGNORED if follows in begins else flat[follows]
            assert row.targets[j] == expected


@given(lengths=LENGTHS, length=st.integers(1, 8), epochs=st.floats(0.1, 3.5), seed=st.integers(0, 5))
def test_no_target_crosses_a_document_and_no_token_is_lost(
    lengths: list[list[int]], length: int, epochs: float, seed: int
) -> None:
    made = numbered(lengths)
    total = len(ring(made))
    with tempfile.TemporaryDirectory() as folder:
        held = shards(Path(folder), {"a": made})
        each = total // length
        if each == 0 or int(epochs * each + 0.5) == 0:
            return
        mixture = Mixture(held, "train", {"a": epochs}, length, seed)
        assert abs(mixture.rows - epochs * each) <= 0.5 + 1e-6
        seen: Counter[int] = Counter()
        for row in everything(mixture):
            seen.update(id for id in row.ids.tolist() if id not in (BOS, EOS))
            assert BOS not in row.targets.tolist(), "the beginning of another document"
            assert all(target == IGNORED for id, target in zip(row.ids, row.targets, strict=True) if id == EOS)
            assert all(target == id + 1 or target == EOS for id, target in zip(row.ids, row.targets, strict=True)
                       if id not in (BOS, EOS))  # fmt: skip
            assert set(row.ids[row.borders[1:-1]].tolist()) <= {BOS}
        whole = int(epochs)
        lost = (whole + 1) * (total - each * length)
        assert all(count <= whole + 1 for count in seen.values())
        if epochs == whole:
            inner = total - 2 * sum(map(len, lengths))
            assert sum(seen.values()) >= whole * inner - lost


def test_an_epoch_has_every_token_once_where_rows_fit(tmp_path: Path) -> None:
    made = numbered([[3, 0, 7], [5, 9]])
    flat = ring(made)
    length = next(n for n in range(2, 10) if len(flat) % n == 0)
    mixture = Mixture(shards(tmp_path, {"a": made}), "train", {"a": 2}, length, 7)
    counted = Counter(id for row in everything(mixture) for id in row.ids.tolist())
    assert counted == {id: 2 * n for id, n in Counter(flat).items()}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    train = {"a": numbered([[30, 5, 44], [21, 60]]), "b": numbered([[200, 10]], 1000), "c": numbered([[1]], 5000)}
    return shards(tmp_path_factory.mktemp("mixed"), train, {"a": numbered([[40]], 7000), "b": [], "c": []}, epochs=1.5)


def test_rows_are_equal_in_any_order_and_any_process(mixed: Any) -> None:
    epochs = {"a": 2.5, "b": 3}
    first, again = (Mixture(mixed, "train", epochs, 8, seed=1) for _ in range(2))
    ascending = everything(first)
    for i in Permutation(first.rows, "any"):
        row = again.row(i)
        for name in ("ids", "targets", "borders"):
            assert (getattr(row, name) == getattr(ascending[i], name)).all()
    assert row.ids.dtype == row.targets.dtype == row.borders.dtype == np.int64
    other = everything(Mixture(mixed, "train", epochs, 8, seed=2))
    assert sum((a.ids == b.ids).all() for a, b in zip(ascending, other, strict=True)) < len(other) / 4


@given(ranks=st.integers(1, 9), first=st.integers(0, 40))
def test_ranks_share_the_rows(mixed: Any, ranks: int, first: int) -> None:
    mixture = Mixture(mixed, "train", {"a": 1, "b": 1}, 8, 1)
    shares = [list(mixture.of_rank(rank, ranks, first)) for rank in range(ranks)]
    assert sorted(i for share in shares for i in share) == list(range(first, mixture.rows))
    assert all(i % ranks == rank for rank, share in enumerate(shares) for i in share)


def test_the_sources_stand_in_their_proportions(mixed: Any) -> None:
    mixture = Mixture(mixed, "train", {"a": 4, "b": 0.5, "c": 0}, 8, 3)
    placed = [mixture.place(i) for i in range(mixture.rows)]
    assert Counter(source for source, _, _ in placed) == mixture.rows_of == {"a": 4 * 21, "b": 13}
    assert len(set(placed)) == len(placed)
    drawn = sorted(cut for source, _, cut in placed if source == "b")
    assert drawn != list(range(13)), "a fraction of an epoch is not its beginning"
    firsts = [source for source, _, _ in placed[: len(placed) // 2]]
    assert 2 <= firsts.count("b") <= 11, "mixed, not one after the other"


def test_epochs_begin_at_offsets_of_their_own(mixed: Any) -> None:
    mixture = Mixture(mixed, "train", {"b": 6}, 32, 3)
    starts = {mixture.place(i)[1]: tuple(mixture.row(i).ids) for i in range(mixture.rows) if mixture.place(i)[2] == 0}
    assert len(set(starts.values())) >= 4


def test_the_manifests_epochs_are_the_default(mixed: Any) -> None:
    assert Mixture(mixed, "train", None, 3, 0).rows_of == {"a": 84, "b": 107, "c": 2}
    assert Mixture(mixed, "held-out", None, 8, 0).rows_of == {"a": 5}


def test_what_makes_no_rows_is_refused(mixed: Any) -> None:
    for epochs, length, said in (
        ({"a": 1, "z": 1}, 8, "no source 'z', only a, b, c"),
        ({"a": 1, "c": 1}, 8, "train/c has 3 tokens, less than one row of 8; leave it out with epochs 0"),
        ({"a": -1}, 8, "seen -1 times"),
        ({"a": float("nan")}, 8, "seen nan times"),
        ({}, 8, "no train rows"),
        ({"a": 1e-9}, 8, "no train rows of 8 tokens with these epochs"),
    ):
        with pytest.raises(DataError, match=said):
            Mixture(mixed, "train", epochs, length, 0)
    with pytest.raises(IndexError):
        Mixture(mixed, "train", {"a": 1}, 8, 0).row(10**6)


def test_a_row_of_many_documents_costs_well_under_a_millisecond(tmp_path: Path) -> None:
    """100,000 documents a shard, twelve shards: the best of several hundred rows, so that other work does not count."""
    documents = [[BOS, 5, 6, EOS]] * 100_000
    held = shards(tmp_path, {"a": [documents]})
    stream = held.stream("train", "a")
    mixture = Mixture(held, "train", {"a": 1}, 2048, 0)
    many = type(stream)(stream._shards * 12)
    mixture._streams["a"] = many
    mixture.row(0)
    spent = []
    for i in range(mixture.rows):
        began = time.perf_counter()
        row = mixture.row(i)
        spent.append(time.perf_counter() - began)
        assert len(row.borders) in (513, 514)
    assert min(spent) < 2e-4

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.model.batch import Span, TokenBatch


def test_packing_by_hand() -> None:
    """A prefill chunk of 3, one decode token and a chunk of 2: T = 6 rows of S = 3 sequences, tables of R = 2 slots."""
    batch = TokenBatch.pack(
        [
            Span([11, 12, 13], 0, [1, 2], "none"),
            Span([21], 40, [3, 0], "last"),
            Span([31, 32], 7, [4, 5], "all"),
        ]
    )
    assert batch.ids.tolist() == [11, 12, 13, 21, 31, 32]
    assert batch.positions.tolist() == [0, 1, 2, 40, 7, 8]
    assert batch.borders.tolist() == [0, 3, 4, 6]
    assert batch.tables is not None
    assert batch.tables.tolist() == [[1, 2], [3, 0], [4, 5]]
    assert batch.logit_rows.tolist() == [3, 4, 5]
    for tensor in (batch.ids, batch.positions, batch.borders, batch.tables, batch.logit_rows):
        assert tensor.dtype == torch.int64


def test_defaults() -> None:
    """A whole sequence from position 0, without a cache, of which the last row needs logits."""
    batch = TokenBatch.pack([Span([5, 6, 7]), Span([8])])
    assert batch.positions.tolist() == [0, 1, 2, 0]
    assert batch.tables is None
    assert batch.logit_rows.tolist() == [2, 3]


def test_nobody_needs_logits() -> None:
    batch = TokenBatch.pack([Span([5, 6], logits="none"), Span([7], logits="none")])
    assert batch.logit_rows.shape == (0,)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50), st.sampled_from(["all", "last", "none"])), min_size=1, max_size=6)
)
def test_every_token_finds_its_place(drawn: list[tuple[int, int, str]]) -> None:
    """Against the plainest loop."""
    spans = [
        Span([100 * s + i for i in range(n)], start, [s + 1], wanted)  # type: ignore[arg-type]
        for s, (n, start, wanted) in enumerate(drawn)
    ]
    batch = TokenBatch.pack(spans)
    rows = [(s, i) for s, span in enumerate(spans) for i in range(len(span.ids))]
    assert batch.ids.tolist() == [100 * s + i for s, i in rows]
    assert batch.positions.tolist() == [spans[s].start + i for s, i in rows]
    assert batch.borders.diff().tolist() == [len(span.ids) for span in spans]
    needs = [
        spans[s].logits == "all" or (spans[s].logits == "last" and i == len(spans[s].ids) - 1)  # by row
        for s, i in rows
    ]
    assert batch.logit_rows.tolist() == [row for row, needed in enumerate(needs) if needed]


GOOD: dict[str, object] = {
    "ids": [7, 8, 9, 7, 8],
    "positions": [4, 5, 6, 0, 1],
    "borders": [0, 3, 5],
    "tables": [[1, 2], [3, 4]],
    "logit_rows": [2, 4],
}


def _batch(**changes: object) -> TokenBatch:
    fields = {name: None if value is None else torch.tensor(value, dtype=torch.int64) for name, value in (GOOD | changes).items()}
    return TokenBatch(**fields)  # type: ignore[arg-type]


def test_the_good_batch_passes() -> None:
    assert _batch().ids.shape == (5,)
    assert _batch(logit_rows=[]).logit_rows.shape == (0,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": [], "positions": [], "borders": [0], "tables": None, "logit_rows": []}, "needs a token"),
        ({"ids": [[7, 8]] * 5}, "flat"),
        ({"positions": [4, 5, 6, 0]}, "one position a token"),
        ({"positions": [[4], [5], [6], [0], [1]]}, "one position a token"),
        ({"positions": [4, 5, 7, 0, 1]}, "run on"),
        ({"positions": [4, 5, 5, 0, 1]}, "run on"),
        ({"positions": [-1, 0, 1, 0, 1]}, "negative"),
        ({"borders": [1, 3, 5]}, "begins at row 0"),
        ({"borders": [0, 3, 4]}, "ends with the last row"),
        ({"borders": [0, 3, 6]}, "ends with the last row"),
        ({"borders": [0, 3, 3, 5]}, "no sequence is empty"),
        ({"borders": [0, 4, 3, 5]}, "no sequence is empty"),
        ({"borders": [0, 5]}, "run on"),
        ({"tables": [[1, 2]]}, "one page table a sequence"),
        ({"tables": [[1, 2]] * 3}, "one page table a sequence"),
        ({"tables": None}, "begins at position 0"),
        ({"logit_rows": [5]}, "logits"),
        ({"logit_rows": [-1, 2]}, "logits"),
    ],
)
def test_each_broken_promise_is_caught_at_birth(changes: dict[str, object], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        _batch(**changes)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([[1], None], "for all sequences or for none"),
        ([[1, 2], [3]], "of one length"),
    ],
)
def test_tables_that_do_not_go_together(tables: list[Sequence[int] | None], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        TokenBatch.pack([Span([5], 0, table) for table in tables])

"""Far text: losses by position, and what was hidden asked for, on models whose memory is known."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.api import LLM
from mistral7b.errors import DataError, RequestError
from mistral7b.evals import passkey as asking
from mistral7b.evals import positions as placing
from mistral7b.evals.passkey import SECRETS, Cell, gains_of, make, passkey
from mistral7b.evals.positions import Bucket, bucket_of, by_position, longest, pieces_of

TEXT = "Once upon a time there was a girl. She had a cat, and the cat had a ball. "


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("tiny", dtype="float32", max_model_len=1024, max_num_seqs=4)


def test_losses_by_position_are_those_of_the_logits(llm: LLM) -> None:
    assert llm.tokenizer is not None
    pieces = pieces_of(llm, [TEXT * 3, "", TEXT * 4], 50)
    assert [len(piece) for piece in pieces] == sorted((len(piece) for piece in pieces), reverse=True)
    assert all(piece[0] == 1 and 1 not in piece[1:] for piece in pieces)
    counted = sum(len(piece) - 1 for piece in pieces)
    assert counted == sum(len(llm.tokenizer.encode(text)) for text in (TEXT * 3, TEXT * 4))
    told: list[tuple[int, int]] = []
    found = by_position(llm, pieces, 16, lambda done, total: told.append((done, total)))
    losses = []
    for piece in pieces:
        rows = llm.logits(piece)[:-1].double().log_softmax(-1)
        losses.append([-float(row[id]) for row, id in zip(rows, piece[1:], strict=True)])
    for bucket in found:
        means = [statistics.fmean(one[bucket.begin - 1 : bucket.end - 1]) for one in losses if len(one) >= bucket.end - 1]
        assert bucket.tokens == 16 * len(means)
        assert bucket.nll == pytest.approx(statistics.fmean(means), abs=1e-5)
        if len(means) > 1:
            assert bucket.error == pytest.approx(statistics.stdev(means) / len(means) ** 0.5, abs=1e-4)
    assert [(bucket.begin, bucket.end) for bucket in found] == [(1, 17), (17, 33), (33, 49)]
    assert told[-1] == (len(told), len(told))


def test_what_cannot_be_measured(llm: LLM) -> None:
    with pytest.raises(DataError, match="no text has 64 tokens"):
        by_position(llm, pieces_of(llm, [TEXT], 50), 64)
    with pytest.raises(RequestError, match="and its answer are more than max_model_len"):
        passkey(llm, [1020], [0], 2)
    with pytest.raises(RequestError, match="20 are too few"):
        passkey(llm, [20], [0], 2)
    with pytest.raises(RequestError, match="ask for 2 to 16 trials, not 17"):
        passkey(llm, [200], [0], 17, kind="name")


def test_how_far_is_looked(llm: LLM) -> None:
    assert longest(llm.checkpoint.path) == 8 * 512
    assert (bucket_of(512, 4096), bucket_of(None, 4096), bucket_of(4, 100)) == (64, 64, 1)


@given(length=st.integers(80, 700), depth=st.floats(0, 1), kind=st.sampled_from(sorted(SECRETS)))
def test_prompts_are_as_long_as_asked(llm: LLM, length: int, depth: float, kind: str) -> None:
    assert llm.tokenizer is not None
    secret = SECRETS[kind]
    made = make(llm.tokenizer, secret, length, depth, secret.keys[3])
    text = llm.tokenizer.decode(made.ids)
    assert length - 40 < len(made.ids) <= length
    assert text.count(secret.keys[3]) == 2
    assert text.endswith(secret.asked)
    before, after = text.split(secret.hidden.format(secret.keys[3]))
    idle = before.count("The road"), after.count("The road")
    assert idle[0] == round(depth * sum(idle))
    assert (made.distance == 0) == (idle[1] == 0)


def test_gains_by_hand() -> None:
    assert gains_of([[-1.0, -5.0], [-3.0, -4.0]]) == [[2.0, -1.0], [-2.0, 1.0]]


def test_tiny_remembers_names_and_the_nearer_the_better(llm: LLM) -> None:
    near, far = passkey(llm, [100, 600], [0.0], 3, kind="name")
    assert (near.trials, near.length, far.length) == (3, 100, 600)
    assert near.distance < 100 < 512 < far.distance
    assert near.gain > 4 > 8 * abs(far.gain)
    assert near.rank < 2
    assert passkey(llm, [100], [0.0], 3, kind="name") == [near]


def test_pictures(tmp_path: Path) -> None:
    placing.draw(tmp_path / "a.png", [Bucket(1, 5, 8, 2.0, 0.1), Bucket(5, 9, 4, 1.5, None)], 4, 6)
    asking.draw(tmp_path / "b.png", [Cell(length, depth, 9, 2, 0.5, 1.5, 1.0) for length in (90, 120) for depth in (0.0, 1.0)])
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RequestError, match="cannot be written"):
        placing.draw(tmp_path / "no" / "a.png", [Bucket(1, 5, 8, 2.0, 0.1)], None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]

"""Who is to blame, from what was heard; and what a rank says of one that is gone."""

from __future__ import annotations

import threading
import time

import pytest
import torch
import torch.distributed as dist

from mistral7b.errors import DataError, RanksError
from mistral7b.train import watchdog as room
from mistral7b.train.beats import Beat, Heard
from mistral7b.train.ranks import Ranks
from mistral7b.train.watchdog import Watchdog

PAIR = Ranks(0, 2, torch.device("cpu"))


def _beat(rank: int, ticks: int, count: int = 5) -> Beat:
    return Beat(rank, f"host-{rank}", 100 + rank, count, "step 3: data", ticks)


def _heard(*beats: tuple[float, list[Beat]]) -> Heard:
    heard = Heard(0.0)
    for now, said in beats:
        heard.note(said, None, now)
    return heard


def test_a_rank_whose_ticks_stand_still_is_gone() -> None:
    heard = _heard(*((float(t), [_beat(0, t), _beat(1, min(t, 4))]) for t in range(15)))
    assert [beat.rank for beat in heard.gone(9.0)] == [1]
    assert heard.gone(10.0) == []


def test_a_silent_board_makes_no_rank_gone() -> None:
    """Nothing was heard after 4, of anybody: the board is to blame."""
    heard = _heard(*((float(t), [_beat(0, t), _beat(1, t)]) for t in range(5)))
    assert heard.gone(1.0) == []
    assert heard.answered == 4.0


def test_the_rank_with_the_least_progress_is_behind() -> None:
    heard = _heard((1.0, [_beat(0, 1, count=9), _beat(1, 1, count=7), _beat(2, 1, count=9)]))
    assert [beat.rank for beat in heard.behind()] == [1]
    assert str(heard.behind()[0]) == "rank 1 on host-1 (process 101, last at step 3: data)"


class _Board:
    """A board on which rank 1 fell silent, or ended with words."""

    def __init__(self, end: str | None = None) -> None:
        self.end_words, self.told, self.ticks = end, list[str](), 0

    def exchange(self, mine: Beat) -> tuple[list[Beat], str | None]:
        self.ticks += 1
        return [mine, _beat(1, 1)], self.end_words

    def end(self, words: str) -> None:
        self.told.append(words)


def _watchdog(monkeypatch: pytest.MonkeyPatch, board: _Board, seconds: float) -> Watchdog:
    monkeypatch.setattr(room, "Board", lambda *_: board)
    monkeypatch.setattr(Ranks, "told", lambda _, value: value)
    monkeypatch.setattr(Ranks, "wait", lambda _: None)
    return Watchdog(PAIR, seconds)


@pytest.mark.parametrize(
    "error", [RuntimeError("[third_party/gloo/pair.cc] Connection closed by peer"), dist.DistBackendError("NCCL")]
)
def test_a_broken_connection_becomes_the_name_of_the_rank_that_is_gone(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    board = _Board()
    watchdog = _watchdog(monkeypatch, board, 1.0)
    watchdog.beat("step 3: data")
    said = r"^rank 1 on host-1 \(process 101, .*no more sign of life; rank 0 was left \(step 3: data\)"
    with pytest.raises(RanksError, match=said), watchdog:
        raise error
    assert board.told[0].startswith("rank 1 on host-1")


def test_the_words_of_a_rank_that_failed_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(RanksError, match=r"^rank 1 on host-1 ended: no rows; rank 0 was left"),
        _watchdog(monkeypatch, _Board("rank 1 on host-1 ended: no rows"), 60.0),
    ):
        raise RuntimeError("gloo")


@pytest.mark.parametrize("error", [DataError("no rows"), RuntimeError("a mistake of ours")])
def test_an_error_of_ones_own_is_told_and_stays_what_it_is(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    board = _Board()
    with pytest.raises(type(error), match=str(error)), _watchdog(monkeypatch, board, 60.0):
        raise error
    assert board.told[0].startswith("rank 0 on ")
    assert board.told[0].endswith(f" ended: {error}")


def test_without_progress_it_bites_and_with_progress_it_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bitten = threading.Event()
    monkeypatch.setattr(room.os, "_exit", lambda status: bitten.set() if status == room.HANGS else None)
    with _watchdog(monkeypatch, _Board(), 0.5) as watchdog:
        for _ in range(10):
            watchdog.beat("step 7: data")
            time.sleep(0.1)
        assert not bitten.is_set()
        assert bitten.wait(5.0)
    assert "mistral7b: error: rank 1 on host-1 (process 101" in capsys.readouterr().err


def test_alone_it_does_nothing() -> None:
    threads = threading.active_count()
    with Watchdog(Ranks(0, 1, torch.device("cpu")), 0.1) as watchdog:
        assert threading.active_count() == threads
    with pytest.raises(RuntimeError, match="gloo"), watchdog:
        raise RuntimeError("gloo")

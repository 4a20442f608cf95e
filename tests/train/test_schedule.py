"""Learning rates over a run."""

from __future__ import annotations

import pytest

from mistral7b.train.recipe import Schedule
from mistral7b.train.schedule import share


def test_cosine_rises_and_falls() -> None:
    schedule = Schedule(warmup=4, final=0.1)
    shares = [share(schedule, step, 12) for step in range(13)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[8] == pytest.approx(0.55)  # half way down
    assert shares[12] == pytest.approx(0.1)
    assert shares[4:] == sorted(shares[4:], reverse=True)


def test_trapezoid_is_level_then_linear() -> None:
    schedule = Schedule(name="trapezoid", warmup=2, final=0.0, decay=0.5)
    shares = [share(schedule, step, 20) for step in range(21)]
    assert shares[1:11] == [1.0] * 10
    assert shares[15] == pytest.approx(0.5)
    assert shares[20] == 0.0


def test_no_warmup_begins_at_the_peak() -> None:
    assert share(Schedule(warmup=0), 0, 10) == 1.0


@pytest.mark.parametrize("wrong", [{"warmup": -1}, {"final": 1.5}, {"decay": 0.0}])
def test_numbers_that_make_no_schedule(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="warmup counts steps"):
        Schedule(**wrong)  # type: ignore[arg-type]

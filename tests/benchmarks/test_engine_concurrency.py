"""The engine's benchmark on a small network: its clocks add up, and its rows are the rounds' medians."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.checkpoint.made import SMALL

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engine_concurrency.py"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(SCRIPT.parent)
    from engine_concurrency import PARTS, Bench, Row, main


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_wave(concurrency: int) -> None:
    bench = Bench(SMALL, prompt_tokens=9, new_tokens=6, most=3, temperature=0.7)
    assert {weight.dtype for weight in bench.model.parameters()} == {torch.bfloat16}
    started = time.perf_counter()
    found = bench.wave(concurrency)
    seconds = time.perf_counter() - started
    assert all(found[part] > 0 for part in PARTS)
    # All begin in the first step, so five steps decode one token of each.
    assert 5 * sum(found[part] for part in PARTS) / 1000 == pytest.approx(5 * concurrency / found["decode"])
    assert 6 * concurrency / found["whole"] < seconds
    assert bench.engine.idle


def test_a_row_is_the_median_of_its_rounds() -> None:
    rounds = [
        {
            1: dict.fromkeys(PARTS, 1.0) | {"whole": 2.0, "decode": one},
            16: dict.fromkeys(PARTS, 2.0) | {"whole": 8.0, "decode": many},
        }
        for one, many in ((1.0, 5.0), (2.0, 12.0), (4.0, 16.0))
    ]
    row = Row.of(16, 1, rounds)
    assert row.ratio["whole"] == {"median": 4, "least": 4, "most": 4}
    assert row.ratio["decode"] == {"median": 5, "least": 4, "most": 6}, "within a round, not of the medians"
    assert row.tokens_per_second["decode"]["median"] == 12
    assert "5.00 (4.00, 6.00) times the first" in str(row)


def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--new-tokens", "1"])
    assert "--new-tokens at least 2" in capsys.readouterr().err.splitlines()[-1]

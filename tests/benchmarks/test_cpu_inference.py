"""The CPU comparison without its peers: framing, turns, caps, resuming, arithmetic, table and chart."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cpu_inference.py"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(SCRIPT.parent)
    from cpu_chart import draw
    from cpu_driver import Driver, Record
    from cpu_inference import main
    from cpu_protocol import Overtime, Worker, WorkerError
    from cpu_report import over, report, spread
    from cpu_table import show, words
    from cpu_work import ALL, SYSTEMS, Figure

SETTINGS: dict[str, Any] = {
    "variant": "v0.1", "layers": 8, "threads": 2, "steps": 16, "operations_per_token": 2_000_000_000, "processor": "a processor",
}  # fmt: skip


def stand_in(tmp_path: Path, each: float = 0.01) -> Worker:
    command = [sys.executable, Path(__file__).with_name("cpu_stand_in.py"), str(each)]
    return Worker(command, tmp_path / "worker.log", {"PYTHONPATH": str(SCRIPT.parent)})


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = stand_in(tmp_path)
    yield made
    made.end()


# ── protocol ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_a_library_prints_is_no_answer(worker: Worker, tmp_path: Path) -> None:
    assert worker.ask("prefill", tokens=4)["tokens"] == 4
    assert worker.ask("decode", depth=0, tokens=2) == {"seconds": 0.02, "tokens": 2}
    log = (tmp_path / "worker.log").read_text()
    assert "a library says" in log
    assert "below Python" in log


def test_an_error_is_one_line_and_the_worker_lives(worker: Worker) -> None:
    with pytest.raises(WorkerError, match=r"^RuntimeError: no room for 4 x 80$"):
        worker.ask("batch", size=4, prompt=64, tokens=16)
    with pytest.raises(WorkerError, match="KeyError"):
        worker.ask("nonsense")
    assert worker.ask("decode", depth=0, tokens=1)["tokens"] == 1


def test_a_worker_that_dies_says_its_last_words(worker: Worker) -> None:
    with pytest.raises(WorkerError, match=r"ended \(3\): out of luck"):
        worker.ask("die")
    assert not worker.alive


def test_a_command_past_its_limit_ends_the_worker(worker: Worker) -> None:
    started = time.monotonic()
    with pytest.raises(Overtime):
        worker.ask("hang", limit_s=1.0)
    assert time.monotonic() - started < 30
    assert not worker.alive


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_not_asked_is_stopped(worker: Worker) -> None:
    stat = Path("/proc", str(worker.ask("spin")), "stat")
    end = time.monotonic() + 30
    while (state := stat.read_text().rpartition(")")[2].split()[0]) != "T" and time.monotonic() < end:
        time.sleep(0.01)
    assert state == "T"
    assert worker.ask("spin") != os.getpid(), "and goes on when it is asked"


# ── rounds ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def drive(tmp_path: Path, record: Record, figures: list[str], rounds: int = 2, cap_s: float = 600.0) -> list[str]:
    said: list[str] = []
    speeds = {"machine": 0.0, "fast": 0.01, "slow": 0.02}
    driver = Driver(record, lambda system: stand_in(tmp_path, speeds[system]), cap_s, said.append)
    driver.run(["fast", "slow"], list(map(Figure.parse, figures)), rounds)
    assert not any(worker.alive for worker in driver.workers.values())
    return said


def test_systems_take_turns_and_the_order_turns(tmp_path: Path) -> None:
    record = Record(tmp_path / "out.json", SETTINGS)
    drive(tmp_path, record, ["prefill-64", "decode-0"])
    order = [(run["round"], run["figure"], run["system"]) for run in record.runs if run["system"] != "machine"]
    first, second = ["fast", "slow"], ["slow", "fast"]
    assert order == [
        *((0, figure, system) for figure in ("prefill-64", "decode-0") for system in first),
        *((1, figure, system) for figure in ("prefill-64", "decode-0") for system in second),
    ]
    assert json.loads((tmp_path / "out.json").read_text())["runs"] == record.runs
    assert [run["figure"] for run in record.runs[:4]] == ["read", "int8", "bf16", "fp32"], "the machine comes first"


def test_a_rerun_goes_on_from_the_rounds_that_stand(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    drive(tmp_path, Record(file, SETTINGS), ["prefill-64", "batch-4"], rounds=1)
    record = Record.resume(file, SETTINGS)
    kept = len(record.runs)
    said = drive(tmp_path, record, ["prefill-64", "batch-4"], rounds=2)
    assert record.runs[:kept] == json.loads(file.read_text())["runs"][:kept]
    assert [run["round"] for run in record.runs if run["figure"] == "prefill-64"] == [0, 0, 1, 1]
    assert sum("no room" in line for line in said) == 2, "what failed is tried again, once"
    with pytest.raises(ValueError, match="another threads"):
        Record.resume(file, SETTINGS | {"threads": 4})


def test_no_round_is_begun_that_would_pass_the_cap(tmp_path: Path) -> None:
    record = Record(None, SETTINGS)
    drive(tmp_path, record, ["prefill-512", "prefill-2048", "decode-4096", "decode-0"], rounds=3, cap_s=25.0)
    rounds = {(system, figure): len(record.of(system, Figure.parse(figure)))
              for system in ("fast", "slow") for figure in ("prefill-512", "prefill-2048", "decode-0")}  # fmt: skip
    assert rounds["fast", "prefill-512"] == 3
    assert rounds["slow", "prefill-512"] == 2, "10 s each"
    assert rounds["fast", "prefill-2048"] == 1, "20 s each"
    [refused] = record.of("slow", Figure("prefill", 2048))
    assert refused["skipped"] == "not run: at least 41 s, over the cap of 25 s"
    assert "at least 41 s" in record.of("fast", Figure("decode", 4096))[0]["skipped"], "a depth must be filled first"
    assert rounds["slow", "decode-0"] == 3


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────────────────────────
POSITIVE = st.floats(0.1, 1e6)


@given(st.dictionaries(st.integers(0, 9), POSITIVE), st.dictionaries(st.integers(0, 9), POSITIVE))
def test_ratios_are_of_rounds_that_both_have(above: dict[int, float], below: dict[int, float]) -> None:
    ratios = over(above, below)
    assert len(ratios) == len(above.keys() & below.keys())
    found = spread(ratios)
    if found:
        assert found["least"] <= found["median"] <= found["most"]
        assert found["rounds"] == len(ratios)
    else:
        assert not ratios


def runs(system: str, figure: str, values: list[float], **more: Any) -> list[dict[str, Any]]:
    return [{"round": i, "figure": figure, "system": system, "value": value, **more} for i, value in enumerate(values)]


@pytest.fixture
def record() -> dict[str, Any]:
    flat, growing = [[end, end / 100] for end in range(2048, 16385, 2048)], [[end, end**2] for end in range(2048, 16385, 2048)]
    return {
        "settings": SETTINGS,
        "systems": {"machine": {}, "ours": {"read_bytes": 10**9}, "theirs": {"read_bytes": 2 * 10**9}},
        "runs": [
            *runs("machine", "read", [40.0, 20.0, 40.0]), *runs("machine", "int8", [800.0, 800.0, 400.0]),
            *runs("ours", "decode-0", [30.0, 16.0, 36.0]), *runs("theirs", "decode-0", [10.0, 8.0]),
            *runs("ours", "decode-8192", [27.0, 16.0, 18.0]), *runs("ours", "rows-4", [80.0, 64.0, 72.0]),
            *runs("ours", "prefill-16384", [100.0], marks=flat), *runs("theirs", "prefill-16384", [50.0], marks=growing),
            *runs("ours", "batch-1", [30.0, 15.0, 35.0]), *runs("ours", "batch-16", [150.0, 90.0, 210.0]),
            {"round": 0, "figure": "batch-16", "system": "theirs", "skipped": "no [room]"},
        ],
    }  # fmt: skip


def test_the_report(record: dict[str, Any]) -> None:
    found = report(record, "ours", ["decode-0", "prefill-16384", "batch-16"])
    assert found["figures"]["decode-0"]["ours"] == {"median": 30, "least": 16, "most": 36, "rounds": 3}
    assert found["figures"]["batch-16"]["theirs"] == {"skipped": "no [room]"}
    assert found["ratios"]["decode-0"]["theirs"] == {"median": 2.5, "least": 2, "most": 3, "rounds": 2}, "within a round"
    assert found["ratios"]["batch-16"]["theirs"] is None
    ours, theirs = found["derived"]["ours"], found["derived"]["theirs"]
    assert ours["decode-0 of read bandwidth"]["median"] == pytest.approx(0.8), "of 0.75, 0.8 and 0.9"
    assert theirs["decode-0 of read bandwidth"]["median"] == pytest.approx(0.65), "of 0.5 and 0.8"
    assert ours["decode-8192 over decode-0"]["median"] == pytest.approx(0.9)
    assert ours["batch-16 over batch-1"]["median"] == pytest.approx(6.0)
    assert ours["a forward of 4 rows over one of 1"]["median"] == pytest.approx(1.5), "of 1.5, 1 and 2"
    assert ours["prefill-16384 of int8 rate"]["median"] == pytest.approx(0.25)
    assert ours["a prompt token at 16384 over one at 6144"]["median"] == pytest.approx(1.0)
    assert theirs["a prompt token at 16384 over one at 6144"]["median"] == pytest.approx((16**2 - 14**2) / (6**2 - 4**2))


def test_marks_that_do_not_meet_the_chunks_say_nothing(record: dict[str, Any]) -> None:
    record["runs"] = runs("ours", "prefill-16384", [1.0], marks=[[4096, 1.0], [8192, 2.0], [12288, 3.0], [16384, 4.0]])
    assert "a prompt token at 16384 over one at 6144" not in report(record, "ours", [])["derived"]["ours"]


def test_table_and_chart(record: dict[str, Any], tmp_path: Path) -> None:
    found = report(record, "ours", ["decode-0", "prefill-16384", "batch-16"])
    out = io.StringIO()
    show(record, found, Console(file=out, width=160))
    text = out.getvalue()
    assert "2.50 (2.00, 3.00)" in text
    assert "30.0 (16.0, 36.0)" in text
    assert "theirs, batch-16: no [room]" in text
    assert text.count("not run") > 1
    draw(record, found, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_words() -> None:
    assert words(None) == words({"skipped": "why"}) == "not run"
    assert words({"median": 2.0, "least": 2.0, "most": 2.0, "rounds": 1}) == "2.0"


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("figure", ALL)
def test_a_figure_is_its_name(figure: Figure) -> None:
    assert Figure.parse(figure.name) == figure


@pytest.mark.parametrize("text", ["", "prefill", "prefill-0", "decode-16385", "batch-17", "rows-x", "read-1", "batch--4"])
def test_no_figure(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no figure"):
        Figure.parse(text)


def test_every_system_has_its_worker() -> None:
    assert all((SCRIPT.parent / system.worker).is_file() for system in SYSTEMS.values())


def test_options_that_make_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--resume"], ["--rounds", "0"], ["--option", "nobody=--x"], ["--systems", "nobody"]):
        with pytest.raises(SystemExit, match="2"):
            main(options)
    assert main(["--work", str(tmp_path), "--envs", str(tmp_path)]) == 1
    assert "run --prepare" in capsys.readouterr().err.splitlines()[-1]

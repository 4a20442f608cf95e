"""A run that was stopped goes on from its folder, and ends with the same report."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mistral7b
from mistral7b.errors import DataError
from mistral7b.evals.folder import ITEMS, RESULTS
from mistral7b.evals.run import evaluate
from tests.evals.quiz import Hashed, quizzes

_EVENTS = 39  # answers written and files renamed in a whole run of killed.py


def _run(*args: object) -> list[str]:
    """How each run of tests/evals/killed.py ended."""
    command = [sys.executable, "-m", "tests.evals.killed", *map(str, args)]
    environment = os.environ | {"PYTHONPATH": str(Path(mistral7b.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line.removeprefix("ended ") for line in done.stdout.splitlines() if line.startswith("ended ")]


def _left(out: Path) -> dict[str, Any]:
    """All that a run leaves, less the seconds it took and the order of the journal."""
    found: dict[str, Any] = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    results = json.loads(found[RESULTS])
    for each in results["benchmarks"]:
        del each["seconds"]
    return found | {RESULTS: results, "answers.jsonl": sorted(found["answers.jsonl"].splitlines())}


def test_killed_three_times_the_report_is_the_same(tmp_path: Path) -> None:
    moments = [random.randrange(_EVENTS // 3) for _ in range(3)]
    assert _run(tmp_path / "whole", tmp_path / "killed", *moments) == ["0", "-9", "-9", "-9", "0"], moments
    whole = _left(tmp_path / "whole")
    assert _left(tmp_path / "killed") == whole, moments
    assert sorted(whole) == ["answers.jsonl", "figure.png", "items/sums.jsonl", "items/writing.jsonl",
                             "items/writing_maj3.jsonl", "report.md", RESULTS]  # fmt: skip
    assert [each["benchmark"] for each in whole[RESULTS]["benchmarks"]] == ["sums", "writing", "writing_maj3"]
    assert len(whole["answers.jsonl"]) == 2 * 3 * 3 + 3 + 3 * 3


@pytest.mark.slow
def test_killed_all_along_the_report_is_the_same(tmp_path: Path) -> None:
    _, *ended, last = _run(tmp_path / "whole", tmp_path / "killed", *[3] * 24)
    assert last == "0"
    assert ended.count("-9") > 12, "each run comes two answers further, or finishes a benchmark"
    assert _left(tmp_path / "killed") == _left(tmp_path / "whole")


def test_what_is_finished_is_not_asked_again(tmp_path: Path) -> None:
    lm = Hashed()
    first = evaluate(lm, quizzes(), limit=2, out=tmp_path)
    asked = lm.asked
    assert asked > 0
    assert evaluate(lm, quizzes(), limit=2, out=tmp_path) == first
    assert lm.asked == asked


def test_a_benchmark_that_could_not_be_run_before_is_added(tmp_path: Path) -> None:
    lm, (first, *_, last) = Hashed(), quizzes()
    evaluate(lm, [last], limit=2, out=tmp_path, allow_code=True)
    asked = lm.asked
    both = evaluate(lm, [first, last], limit=2, out=tmp_path, allow_code=True)
    assert [each.benchmark for each in both.measured] == ["sums", "code"]
    assert lm.asked == asked + 2 * 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"limit": 3}, "settings had limit 2, not 3"),
        ({"seed": 1}, "settings had seed 0, not 1"),
        ({"model": {"digest": "other"}}, "model had digest 'first', not 'other'"),
        ({"settings": {"shots": 1}}, "settings had shots None, not 1"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"limit": 2, "model": {"digest": "first"}}
    evaluate(Hashed(), quizzes()[:2], out=tmp_path, **asked)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=f"holds a run whose {said}; name another folder"):
        evaluate(Hashed(), quizzes()[:2], out=tmp_path, **{**asked, **changed})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_data_is_refused(tmp_path: Path) -> None:
    built = quizzes()[:2]
    evaluate(Hashed(), built, limit=1, out=tmp_path)
    with pytest.raises(DataError, match="holds sums as measured on other data; name another folder"):
        evaluate(Hashed(), [replace(built[0], files={"sums/a.jsonl": "3"}), built[1]], limit=1, out=tmp_path)


@pytest.mark.parametrize("held", [b"{", b"[]"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, held: bytes) -> None:
    (tmp_path / RESULTS).write_bytes(held)
    with pytest.raises(DataError, match="does not belong to a run that can go on"):
        evaluate(Hashed(), quizzes()[:2], out=tmp_path)
    assert (tmp_path / RESULTS).read_bytes() == held


def test_items_that_are_gone_are_told(tmp_path: Path) -> None:
    evaluate(Hashed(), quizzes()[:2], limit=1, out=tmp_path)
    (tmp_path / ITEMS / "sums.jsonl").unlink()
    with pytest.raises(DataError, match="name another folder"):
        evaluate(Hashed(), quizzes()[:2], limit=1, out=tmp_path)

"""`curate` at the command line: tables, JSON, and one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.data.curate.made import lines, recipe, source, stories

STEPS = {"normalise": {}, "quality": {"en": {"gopher": {}}}, "exact_dedup": {}}


def test_a_run_shows_its_steps_and_sources(run: Run, tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [*stories(5), "Short.", *stories(2)])
    path = recipe(tmp_path, {"tales": source("${DATA}/a.jsonl", epochs=4)}, steps=STEPS)
    arguments = ("curate", path, "--set", f"DATA={tmp_path}", "--out", tmp_path / "out", "--workers", 1)
    shown = run(*arguments)
    assert (shown.status, shown.err) == (0, "")
    for words in ("quality-en", "gopher: short doc 1", "exact-dedup", "duplicate 2", "tales", "report.html"):
        assert words in shown.out
    told = json.loads(run(*arguments, "--json").out)
    assert told["path"] == str(tmp_path / "out")
    assert told["sources"]["tales"]["train"]["documents"] == 5


def test_mistakes_are_one_line(run: Run, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", stories(2))
    to = ("--out", tmp_path / "out", "--workers", 1)
    run("curate", tmp_path / "none.yaml", *to).fails_with("none.yaml")
    run("curate", recipe(tmp_path, {"s": source(path)}, held_ot=0.1), *to).fails_with(
        "held_ot is not known; did you mean held_out?"
    )
    run("curate", recipe(tmp_path, {"s": source(path)}), "--set", "X", *to).fails_with("write NAME=VALUE")
    path.write_text(path.read_text() + "{\n")
    run("curate", recipe(tmp_path, {"s": source(path)}), *to).fails_with("a.jsonl:3: not JSON", "on_bad_line: skip")
    run("curate", recipe(tmp_path, {"s": source(path)}), "--workers", 1).fails_with("--out")

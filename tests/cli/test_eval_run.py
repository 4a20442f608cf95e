"""`eval TASK...` and `eval list`: benchmarks on local data, what is told of those that cannot be run, and resuming."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.made import adapter

_ITEMS = 6


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PIQA, ARC's easy half and HumanEval, of a few made-up items."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("piqa", "arc", "humaneval"):
        (folder / name).mkdir()
    rows = [{"goal": f"carry {i} eggs", "sol1": f"in basket {i}", "sol2": "in a sieve"} for i in range(_ITEMS)]
    (folder / "piqa/valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "piqa/valid-labels.lst").write_text("0\n1\n" * (_ITEMS // 2))
    program = {
        "task_id": "Made/0", "prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }  # fmt: skip
    (folder / "humaneval/HumanEval.jsonl.gz").write_bytes(gzip.compress((json.dumps(program) + "\n").encode()))
    return folder


def test_a_benchmark_as_one_json_object(run: Run, model: Path, data: Path) -> None:
    ran = run("eval", "piqa", "--model", model, "--data-dir", data, "--limit", 4, "--json")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    (piqa,) = told["benchmarks"]
    assert (piqa["benchmark"], piqa["n"], piqa["of"], piqa["shots"]) == ("piqa", 4, _ITEMS, 0)
    assert 0 <= piqa["score"]["interval"]["low"] <= piqa["score"]["value"] <= piqa["score"]["interval"]["high"] <= 1
    assert set(piqa["files"]) == {"piqa/valid.jsonl", "piqa/valid-labels.lst"}
    assert (told["model"]["name"], len(told["model"]["digest"])) == (str(model), 64)
    assert (told["settings"]["limit"], told["settings"]["benchmarks"], told["not_run"]) == (4, ["piqa"], [])


def test_options_may_come_first_and_run_may_be_written(run: Run, model: Path, data: Path) -> None:
    asked = ("--limit", 2, "-m", model, "--data-dir", data, "--json")
    first, second, third = (
        json.loads(run("eval", *order).out) for order in ((*asked, "piqa"), ("run", "piqa", *asked), ("piqa", *asked))
    )
    for each in (first, second, third):
        del each["benchmarks"][0]["seconds"]
    assert first == second == third


def test_through_an_adapter_it_is_another_model(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    adapter(model, tmp_path / "adapter")
    asked = ("eval", "piqa", "-m", model, "--data-dir", data, "--json")
    alone, through = (json.loads(run(*asked, *more).out) for more in ((), ("--lora", tmp_path / "adapter")))
    assert (alone["model"]["adapter"], through["model"]["adapter"]) == (None, str(tmp_path / "adapter"))
    assert alone["model"]["digest"] != through["model"]["digest"]


def test_a_preset_is_shown_whole_and_goes_on_from_its_folder(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    asked = ("eval", "table2", "-m", model, "--data-dir", data, "--limit", 3, "--prompts", "--out", tmp_path / "out")
    shown = run(*asked)
    assert shown.status == 0, shown.err
    rows = {line.split()[0]: line for line in shown.out.splitlines()}
    assert rows["PIQA"].split()[1:3] == ["0", "acc_norm"]
    assert "3 of 6" in rows["PIQA"]
    assert "83.0" in rows["PIQA"]
    assert "not run" in rows["MMLU"]
    assert "not run" in rows["HumanEval"]
    assert "note: MMLU was not run: " in shown.err
    assert "note: HumanEval was not run: needs --allow-code" in shown.err
    held = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert held == ["answers.jsonl", "figure.png", "items/piqa.jsonl", "report.md", "results.json"]
    items = [json.loads(line) for line in (tmp_path / "out/items/piqa.jsonl").read_text().splitlines()]
    assert [item["prompt"] for item in items] == [[f"Question: carry {i} eggs\nAnswer:"] for i in range(3)]
    report = (tmp_path / "out/report.md").read_bytes()
    again = run(*asked)
    assert (again.status, again.out) == (0, shown.out)
    assert (tmp_path / "out/report.md").read_bytes() == report
    run(*asked, "--seed", 1, "--json").fails_with("holds a run whose settings had seed 0, not 1; name another folder")


def test_programs_run_only_if_allowed(run: Run, model: Path, data: Path) -> None:
    run("eval", "humaneval", "-m", model, "--data-dir", data).fails_with("humaneval", "needs --allow-code")
    both = json.loads(run("eval", "humaneval", "piqa", "-m", model, "--data-dir", data, "--limit", 1, "--json").out)
    assert [each["benchmark"] for each in both["not_run"]] == ["humaneval"]
    assert both["not_run"][0]["why"].startswith("needs --allow-code")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("piqua",), "there is no benchmark piqua; did you mean piqa?"),
        (("bpbb",), "there is no benchmark bpbb; did you mean mistral7b eval bpb?"),
        (("lisst",), "did you mean mistral7b eval list?"),
        (("qqqqqq",), "there is no benchmark qqqqqq; mistral7b eval list has them all"),
        (("--limit", "0", "piqa"), "greater than or equal to 1"),
        (("arc_easy",), "arc_easy_test.jsonl is missing; docs/evaluation-data.md says what to put there"),
        (("commonsense", "arc_easy"), "arc_easy_test.jsonl is missing"),
        (("reading",), "nothing of reading can be run: boolq: "),
        (("reading", "--allow-code"), "nothing of reading can be run: boolq: "),
        (("--limit", "1"), "Missing argument 'TASK...'"),
    ],
)
def test_what_cannot_be_run_is_told_before_a_model_is_opened(run: Run, data: Path, asked: tuple[str, ...], said: str) -> None:
    run("eval", *asked, "--data-dir", data, "-m", data / "no-model").fails_with(said)


def test_results_that_could_not_be_kept_are_refused_before_a_model_is_opened(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("eval", "piqa", "--data-dir", data, "-m", data / "no-model", "--out")
    (tmp_path / "file").touch()
    run(*asked, tmp_path / "file").fails_with("is a file; name a folder")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run(*asked, tmp_path / "out").fails_with("a figure needs matplotlib")
    (tmp_path / "text").write_text("Some text.")
    for verb in (("positions", tmp_path / "text"), ("passkey",)):
        run("eval", *verb, "-m", data / "no-model", "--figure", tmp_path / "f.png").fails_with("a figure needs matplotlib")


@pytest.mark.parametrize(
    "verb", [("piqa",), ("mt-bench", "--judge-url", "http://127.0.0.1:1", "--judge-model", "x"), ("passkey",)]
)
def test_a_seed_below_0_is_refused_at_once(run: Run, data: Path, verb: tuple[str, ...]) -> None:
    run("eval", *verb, "-m", data / "no-model", "--seed", -1).fails_with("--seed", "greater than or equal to 0")


def test_without_folder_and_network_one_line_names_the_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("datasets.config.HF_HUB_OFFLINE", "huggingface_hub.constants.HF_HUB_OFFLINE"):
        monkeypatch.setattr(name, True)
    run("eval", "piqa", "--limit", 1).fails_with("PIQA cannot be had from the hub", "--data-dir")


def test_the_list(run: Run) -> None:
    shown = run("eval", "list")
    assert shown.status == 0
    rows = {line.split()[0]: line.split() for line in shown.out.splitlines() if line}
    assert rows["gsm8k_maj8"][1:5] == ["8", "exact_match", "gsm8k/", "table2"]
    assert {"table2", "commonsense", "reading", "aggregate"} <= rows.keys()
    told = json.loads(run("eval", "list", "--json").out)
    assert {each["name"] for each in told["benchmarks"]} <= rows.keys()
    assert set(told["presets"]) <= rows.keys()

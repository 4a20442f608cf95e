"""The table holds ours and the published figures, each marked as what it is; the picture compares like with like."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistral7b.evals.benchmarks import BENCHMARKS, BY_NAME
from mistral7b.evals.figure import AREAS, areas, draw
from mistral7b.evals.intervals import wilson
from mistral7b.evals.published import TABLE2
from mistral7b.evals.report import cells, markdown, notes
from mistral7b.evals.results import Estimate, Measured, NotRun, Results


def measured(name: str, right: int, *, n: int = 100, of: int = 100, shots: int | None = None, cut: int = 0) -> Measured:
    usual = BY_NAME[name]
    metric, score = f"{usual.metric},none", Estimate(right / n, n, wilson(right, n))
    members = {f"{name}_{part}": Estimate((right - 1) / n, n // len(usual.members), None) for part in usual.members}
    shots = usual.shots if shots is None else shots
    return Measured(name, shots, metric, n, of, {metric: score}, members, {"file.jsonl": "0" * 64}, 1.0, cut, ())


def results(*found: Measured | NotRun) -> Results:
    ran = tuple(each for each in found if isinstance(each, Measured))
    return Results({"name": "small"}, {"seed": 0}, ran, tuple(each for each in found if isinstance(each, NotRun)))


def test_the_table() -> None:
    head, *rows = cells(
        results(measured("gsm8k_maj8", 40), measured("piqa", 81), NotRun("humaneval", "no"), measured("gsm8k", 30))
    )
    assert head == ["benchmark", "shots", "metric", "small", "95%", "items", "Mistral 7B†", "Llama 2 7B†", "Llama 2 13B†",
                    "Code Llama 7B†", "card‡"]  # fmt: skip
    assert rows == [
        ["PIQA", "0", "acc_norm", "81.0", "72.2 to 87.5", "100", "83.0", "77.9", "80.8", "72.8", "82.9"],
        ["HumanEval", "0", "pass@1", "not run", "", "", "30.5", "11.6", "18.9", "31.1", "29.9"],
        ["GSM8K", "8", "exact_match", "30.0", "21.9 to 39.6", "100", "", "", "", "", "39.4"],
        ["GSM8K maj@8", "8", "exact_match", "40.0", "30.9 to 49.8", "100", "52.2", "16.0", "34.3", "20.8", ""],
    ]


def test_what_was_not_run_is_nowhere_a_figure_of_ours() -> None:
    nothing = results(*(NotRun(each.name, "its data is missing") for each in BENCHMARKS))
    _, *rows = cells(nothing)
    assert [row[3] for row in rows] == ["not run"] * len(BENCHMARKS)
    assert all(area.ours is None for area in areas(nothing))
    assert "PIQA was not run: its data is missing" in notes(nothing)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (measured("piqa", 1, of=200), "only the first items of each task were asked"),
        (measured("mmlu", 50, shots=2), "MMLU was asked with 2 examples, not the paper's 5"),
        (measured("mmlu", 50, cut=3), "MMLU: 3 prompts were longer than the context, and lost their beginning"),
        (measured("mmlu", 50), "MMLU is scored over all its items; the mean of its 57 parts is 49.0"),
    ],
)
def test_what_a_reader_must_know_is_told_where_it_is_so(found: Measured, said: str) -> None:
    assert any(said in line for line in notes(results(found)))
    assert not any(said in line for line in notes(results(measured("piqa", 1))))


def test_the_markdown_report_can_be_repeated_from() -> None:
    text = markdown(results(measured("bbh", 10), NotRun("quac", "a | b")))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in table[:4]} == {10}
    assert "- QuAC was not run: a | b" in text
    assert "- seed: 0" in text
    assert "| bbh_boolean_expressions | 9.0 |" in text
    assert f"- file.jsonl: {'0' * 64}" in text


def test_areas_compare_the_same_benchmarks() -> None:
    found = {each.name: each for each in areas(results(measured("piqa", 60), measured("hellaswag", 40), measured("gsm8k", 99)))}
    assert tuple(found) == AREAS
    reasoning = found["Reasoning"]
    assert (reasoning.ours, set(reasoning.members), reasoning.of) == (50.0, {"piqa", "hellaswag"}, 8)
    assert reasoning.published["Mistral 7B"] == pytest.approx((83.0 + 81.3) / 2)
    assert found["Math"].ours is None, "greedy answers are not what the paper's figure shows"
    assert found["Math"].published["Mistral 7B"] == pytest.approx((13.1 + 52.2) / 2)
    assert found["BBH"].published == {}
    with_siqa = {each.name: each for each in areas(results(measured("piqa", 60), measured("siqa", 40)))}
    assert with_siqa["Reasoning"].published == {}, "the paper prints no figure of SIQA"


def test_every_benchmark_of_the_table_is_in_one_area() -> None:
    everything = areas(results(*(measured(each.name, 10) for each in BENCHMARKS)))
    members = [name for area in everything for name in area.members]
    assert len(members) == len(set(members)) == sum(area.of for area in everything)
    assert set(TABLE2) <= set(members)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(results(measured("piqa", 60), NotRun("mmlu", "no")), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]

"""A run with a scripted model and a scripted judge: what is asked, what is kept, and what goes on after a kill."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.chats import Ask
from mistral7b.evals.mt_bench import report
from mistral7b.evals.mt_bench.questions import Bench, read_bench
from mistral7b.evals.mt_bench.run import ANSWERS, JUDGMENTS, Outcome, Plan, run
from tests.evals.mt_bench.made import bench_folder
from tests.evals.scripted import ScriptedChat

PLAN = Plan({"none": None, "mistral": "Be kind."}, repeats=3, seed=7, max_tokens=50)


def answer(ask: Ask) -> str:
    """Depends on everything that is asked, the seed included."""
    return f"<{len(ask.messages)} {ask.messages[-1]['content']} {ask.seed}>"


def grade(ask: Ask) -> str:
    """1 to 10 by the seeds and turns in the conversation; no rating for question 86."""
    text = ask.messages[1]["content"]
    return "no rating" if "of 86?" in text else f"Rating: [[{1 + sum(map(int, re.findall('[0-9]', text))) % 10}]]"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return read_bench(bench_folder(tmp_path_factory.mktemp("bench") / "b"))


def scored(bench: Bench, plan: Plan = PLAN, out: Path | None = None) -> tuple[Outcome, ScriptedChat, ScriptedChat]:
    model, judge = ScriptedChat(answer, "model"), ScriptedChat(grade, "judge")
    return run(model, judge, bench, plan, out), model, judge


def test_the_conversations(bench: Bench) -> None:
    _, model, judge = scored(bench)
    assert len(model.asked) == len(judge.asked) == 6 * 2 * 3 * 2
    first, second = model.asked[0], next(ask for ask in model.asked if len(ask.messages) == 3)
    assert first.messages == [{"role": "user", "content": "First of 81?"}]
    assert second.messages == [
        {"role": "user", "content": "First of 81?"},
        {"role": "assistant", "content": f"<1 First of 81? {first.seed}>"},
        {"role": "user", "content": "Second of 81?"},
    ]
    systems = [ask.messages[0] for ask in model.asked if ask.messages[0]["role"] == "system"]
    assert systems == [{"role": "system", "content": "Be kind."}] * 36
    assert {ask.max_tokens for ask in model.asked} == {50}
    seeds = [ask.seed for ask in model.asked if ask.temperature > 0 and ask.messages[0]["role"] == "user"]
    assert len(set(seeds)) == len(seeds) == 4 * 2 * 3, "every sampled turn of every repeat draws for itself"
    assert {ask.seed for ask in model.asked if ask.temperature == 0} == {None}


def test_the_figures(bench: Bench) -> None:
    outcome, _, _ = scored(bench)
    column = report.columns(outcome)[0]
    ratings: dict[int, list[float]] = {}
    for key, _ in outcome.keys("none"):
        rating = outcome.judgments[key]["rating"]
        if rating is not None:
            ratings.setdefault(key[1], []).append(rating)
    assert [len(held) for held in ratings.values()] == [10, 10, 10], "two turns of question 86 are not rated"
    means = [sum(held) / 10 for held in ratings.values()]
    middle = sum(means) / 3
    spread = (sum((mean - middle) ** 2 for mean in means) / 2) ** 0.5
    assert column.scores["all"].mean == pytest.approx(middle)
    assert column.scores["all"].deviation == pytest.approx(spread)
    assert spread > 0
    assert column.unrated == 6
    assert column.scores["humanities"] == report.Score(None, None, 0)
    assert column.scores["math"].deviation == 0, "greedy answers are the same in every repeat"
    assert list(column.scores) == ["all", "turn 1", "turn 2", "writing", "math", "stem", "coding", "humanities"]
    halves = [column.scores[f"turn {turn}"] for turn in (1, 2)]
    assert column.scores["all"].mean == pytest.approx(sum(half.mean or 0 for half in halves) / 2)


def test_one_repeat_has_no_deviation(bench: Bench) -> None:
    column = report.columns(scored(bench, Plan(repeats=1))[0])[0]
    assert column.scores["all"].deviation is None
    assert re.fullmatch(r"\d\.\d\d", str(column.scores["all"]))
    assert str(column.scores["humanities"]) == "not rated"


class KilledError(Exception):
    """The process is gone."""


def dying(after: int) -> Any:
    left = [after]

    def say(ask: Ask) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        return grade(ask) if ask.messages[0]["content"] in "SM" else answer(ask)

    return say


@settings(max_examples=8)  # each is four dozen lines brought to the disk, twice
@given(after=st.integers(0, 47), torn=st.integers(0, 40))
def test_a_killed_run_goes_on_to_the_same_report(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, after: int, torn: int
) -> None:
    plan = Plan({"none": None, "mistral": "Be kind."})
    whole, out = scored(bench, plan)[0], tmp_path_factory.mktemp("run") / "out"
    say = dying(after)
    with pytest.raises(KilledError):
        run(ScriptedChat(say, "model"), ScriptedChat(say, "judge"), bench, plan, out)
    for name in (ANSWERS, JUDGMENTS):  # the kill cut the last line short
        held = (out / name).read_bytes()
        (out / name).write_bytes(held[: max(0, len(held) - torn)])
    outcome, model, judge = scored(bench, plan, out)
    assert report.to_json(outcome) == report.to_json(whole)
    assert outcome.judgments == whole.judgments
    asked_again = len(model.asked) + len(judge.asked)
    assert asked_again <= 48 - after + 2, "what was kept is not asked again, but for a torn line of each file"
    _, model, judge = scored(bench, plan, out)
    assert (model.asked, judge.asked) == ([], [])


def test_more_may_be_added_but_nothing_changed(bench: Bench, tmp_path: Path) -> None:
    scored(bench.limited(2), Plan(repeats=1), tmp_path)
    _, model, judge = scored(bench, Plan({"none": None, "mistral": "Be kind."}, repeats=2), tmp_path)
    assert len(model.asked) == len(judge.asked) == 48 - 4
    with pytest.raises(DataError, match="holds a run with another seed; choose another --out"):
        scored(bench, Plan(seed=1), tmp_path)
    with pytest.raises(DataError, match="another system prompt mistral"):
        scored(bench, Plan({"mistral": "Be quick."}), tmp_path)
    with pytest.raises(DataError, match="another judge"):
        run(ScriptedChat(answer, "model"), ScriptedChat(grade, "other"), bench, Plan(), tmp_path)
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(DataError, match=r"settings\.json is not of this program"):
        scored(bench, Plan(), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / ANSWERS).write_text('{"text": "hello"}\n')
    with pytest.raises(DataError, match="does not say what it answers"):
        scored(bench, Plan(), other)


def test_an_empty_first_answer_is_graded_and_not_followed(bench: Bench) -> None:
    model = ScriptedChat(lambda ask: "" if "First of 82" in ask.messages[-1]["content"] else answer(ask), "model")
    judge = ScriptedChat(grade, "judge")
    outcome = run(model, judge, bench, Plan())
    assert [ask for ask in model.asked if "82" in ask.messages[-1]["content"]] == [model.asked[1]]
    assert len(judge.asked) == 12
    assert any("the answer before it was empty" in note for note in report.notes(outcome))


def test_the_report(bench: Bench, tmp_path: Path) -> None:
    outcome, _, _ = scored(bench)
    report.write(outcome, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told == json.loads(json.dumps(report.to_json(outcome)))
    assert told["published"]["no system prompt"] == {"mean": 6.84, "deviation": 0.07}
    assert "not measured here" in told["published"]["note"]
    page = (tmp_path / "report.md").read_text()
    heading, rule, first = page.splitlines()[2:5]
    assert heading.count("|") == rule.count("|") == first.count("|") == 7
    assert "model, no system prompt" in heading
    assert "published: no system prompt" in heading
    assert "6.84 ± 0.07" in first
    assert "| without a rating | 6 of 36 | 6 of 36 |" in page

"""A run equals lm-eval's own evaluator on the same tasks and answers, and tells how far it is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from lm_eval.evaluator import evaluate as theirs

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.measure import of_record
from mistral7b.evals.results import Estimate, Item
from mistral7b.evals.run import NEEDS_ALLOW_CODE, evaluate
from mistral7b.evals.tasks import Built
from tests.evals.quiz import Hashed, choices, quizzes, writing


def test_figures_and_items_are_those_of_lm_evals_evaluator() -> None:
    ours = evaluate(Hashed(), quizzes(), limit=4, seed=3, allow_code=True)
    tasks = {built.task.task_name: built.task for built in quizzes()}
    for task in tasks.values():
        task.set_fewshot_seed(3)
    reference: Any = theirs(Hashed(), tasks, limit=4, bootstrap_iters=0)
    items: dict[str, list[Item]] = {}
    for item in (item for each in ours.measured for item in each.items):
        items.setdefault(item.task, []).append(item)
    assert items.keys() == tasks.keys()
    for name, samples in reference["samples"].items():
        assert len(samples) == len(items[name]) == 4
        for sample, item in zip(samples, items[name], strict=True):
            assert (sample["doc_id"], sample["prompt_hash"], sample["target"]) == (item.doc_id, item.prompt_sha256, item.target)
            for metric in sample["metrics"]:
                assert item.scores[f"{metric},{sample['filter']}"] == sample[metric]
            said = [[choice["logprob"], choice["greedy"]] if isinstance(choice, dict) else choice for choice in item.outputs]
            assert json.loads(json.dumps(sample["resps"])) == [[each] if name.startswith("sums") else each for each in said]
    by_task: dict[str, dict[str, Estimate]] = {
        name: estimates for each in ours.measured for name, estimates in (
            ((part, {each.metric: member}) for part, member in each.members.items()) if each.members
            else [(each.benchmark, each.estimates)]
        )
    }  # fmt: skip
    for name, estimates in by_task.items():
        for metric, estimate in estimates.items():
            assert estimate.value == reference["results"][name][metric], (name, metric)


def test_a_collection_is_scored_over_all_its_items() -> None:
    (sums, *_), asked = evaluate(Hashed(), quizzes()).measured, {"sums_a": 8, "sums_b": 5}
    assert (sums.benchmark, sums.shots, sums.n, sums.of, sums.metric) == ("sums", 2, 13, 13, "acc,none")
    assert {name: member.n for name, member in sums.members.items()} == asked
    right = sum(item.scores["acc,none"] for item in sums.items)
    assert sums.score.value == right / 13 == pytest.approx(sum(m.value * m.n for m in sums.members.values()) / 13)
    assert sums.mean_of_members == pytest.approx(sum(m.value for m in sums.members.values()) / 2)
    assert sums.files == {"sums/a.jsonl": "1", "sums/b.jsonl": "2"}


def test_programs_are_not_run_unless_allowed() -> None:
    refused = evaluate(Hashed(), quizzes(), limit=1)
    assert [(each.benchmark, each.why) for each in refused.not_run] == [("code", NEEDS_ALLOW_CODE)]
    assert [each.benchmark for each in refused.measured] == ["sums", "writing", "writing_maj3"]
    assert not evaluate(Hashed(), quizzes(), limit=1, allow_code=True).not_run


def test_every_sample_of_an_item_is_kept() -> None:
    found = {each.benchmark: each for each in evaluate(Hashed(), quizzes(), limit=2).measured}
    (texts,) = found["writing_maj3"].items[0].outputs
    assert len(set(texts)) == 3
    assert found["writing_maj3"].items[0].scores["share,all"] in (0, 1 / 3, 2 / 3, 1)


def test_prompts_are_kept_if_asked_for() -> None:
    item = evaluate(Hashed(), quizzes()[:2], limit=1, keep_prompts=True).measured[0].items[0]
    assert item.prompt is not None
    (prompt,) = item.prompt
    assert prompt.count("sums_a example") == 2
    assert prompt.endswith("sums_a: 0 and 0?")
    assert hashlib.sha256(prompt.encode()).hexdigest() == item.prompt_sha256
    assert Item.from_line(item.to_line()) == item


def test_the_seed_draws_the_examples() -> None:
    def hashes(seed: int) -> list[str]:
        return [item.prompt_sha256 for item in evaluate(Hashed(), quizzes()[:2], seed=seed).measured[0].items]

    built = quizzes()[:2]
    assert hashes(0) != hashes(1)
    first, again = (evaluate(Hashed(), built).measured[0].items for _ in range(2))
    assert first == again, "a task that was asked before draws anew"


def test_progress_counts_items_up_to_all_of_them() -> None:
    told: list[tuple[int, int, str]] = []
    evaluate(Hashed(), quizzes(), limit=4, progress=lambda done, total, label="": told.append((done, total, label)))
    assert {total for _, total, _ in told} == {16}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert (told[0][0], told[-1][0]) == (0, 16)
    assert {done for done, _, label in told if label == "sums_b"} == {4, 5, 6, 7, 8}


def test_the_metric_of_record_is_found_with_and_without_its_filter() -> None:
    found = {name: Estimate(0.0, 1, None) for name in ("acc,none", "exact_match,strict", "exact_match,loose")}
    assert of_record("acc", found) == "acc,none"
    assert of_record("exact_match", found) == "exact_match,strict"
    assert of_record("exact_match,loose", found) == "exact_match,loose"


def test_chats_put_each_example_in_a_turn() -> None:
    class Chatting(Hashed):
        tokenizer_name = "none"

        def apply_chat_template(self, chat_history: list[dict[str, str]], **_: object) -> str:
            return "|".join(f"{turn['role']}: {turn['content']}" for turn in chat_history)

    (prompt,) = evaluate(Chatting(), quizzes()[:2], limit=1, chat=True, keep_prompts=True).measured[0].items[0].prompt or ()
    assert [turn.split(":")[0] for turn in prompt.split("|")] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize(
    ("task", "longest", "cut"),
    [
        # BOS and the 17 bytes of "writing: 0 and 0?", 18 from item 10 on, before 8 tokens of answer
        (writing("writing", 12), 18 + 8, [False] * 10 + [True] * 2),
        (writing("writing", 12), 19 + 8, [False] * 12),
        # BOS, the 14 bytes of "sums: 0 and 0?" and 5 of " none", whose last one is not read
        (choices("sums", 2), 19, [False] * 2),
        (choices("sums", 2), 18, [True] * 2),
    ],
)
def test_prompts_longer_than_the_context_are_counted(task: Any, longest: int, cut: list[bool]) -> None:
    class Short(Hashed):
        max_length, max_gen_toks = longest, 256

        def tok_encode(self, string: str) -> list[int]:
            return [1, *string.encode()]

    task.set_config("num_fewshot", 0)
    benchmark = Benchmark(task.task_name, "", "Code", 0, "acc" if task.OUTPUT_TYPE == "multiple_choice" else "share", "")
    (found,) = evaluate(Short(), [Built(benchmark, task, {})]).measured
    assert [item.cut for item in found.items] == cut
    assert found.cut == sum(cut)

"""Scores of written answers, through the tasks that ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate

from mistral7b.evals.tasks import build
from tests.evals.items import write_items


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_items(tmp_path_factory.mktemp("items"))


def scored(name: str, items: Path, texts: list[str], place: int = 0) -> dict[str, float]:
    """What the task makes of the texts that a model wrote for an item, by way of its filters."""
    (built,) = build([name], items)
    task = built.task
    doc = task.task_docs[place]
    request = task.construct_requests(doc, "", metadata=(task.task_name, place, task.config.repeats))
    assert request.repeats == len(texts)
    request.resps = list(texts)
    task._instances = [request]
    task.apply_filters()
    (answer,) = request.filtered_resps.values()
    found: dict[str, float] = task.process_results(doc, [answer])
    assert set(found) == set(task.aggregation())
    return found


@pytest.mark.parametrize(
    ("text", "score"),
    [(" 2 x 3 = 6. The answer is 6.", 1), (" The answer is $6.00.", 1), (" The answer is 5.", 0), (" I do not know.", 0)],
)
def test_one_answer_to_a_word_problem(text: str, score: float, items: Path) -> None:
    assert scored("gsm8k", items, [text], 2) == {"exact_match": score}


def test_the_most_common_of_eight_answers_counts(items: Path) -> None:
    right, wrong, none = "The answer is 6.", "The answer is 7.", "Who knows?"
    assert scored("gsm8k_maj8", items, [wrong] * 3 + [right] * 4 + [none], 2) == {"exact_match": 1}
    assert scored("gsm8k_maj8", items, [right] + [wrong] * 2 + [none] * 5, 2) == {"exact_match": 0}
    assert scored("gsm8k_maj8", items, [right, wrong] * 4, 2) == {"exact_match": 1}, "of equal votes, the answer that came first"
    assert scored("gsm8k_maj8", items, [none] * 8, 2) == {"exact_match": 0}


def test_equivalent_answers_vote_together(items: Path) -> None:
    """Half of 3 is three votes of 1.5, written in three ways, against one."""
    say = "Final Answer: The final answer is ${}$. I hope it is correct."
    texts = [say.format(each) for each in ("7", r"\frac{3}{2}", "1.5", r"\dfrac32")]
    assert scored("math_maj4", items, texts, 2) == {"exact_match": 1}
    assert scored("math", items, [say.format("1.5")], 2) == {"exact_match": 1}
    assert scored("math", items, [say.format("15")], 2) == {"exact_match": 0}


@pytest.mark.parametrize(("text", "score"), [("in the city of Ghent\n", 1.0), (" nowhere", 0.0)])
def test_an_answer_in_a_dialogue(text: str, score: float, items: Path) -> None:
    found = scored_plain("quac", items, text)
    assert found == {"f1": pytest.approx((score + score * 2 * 2 / 6) / 2)}


def scored_plain(name: str, items: Path, text: str) -> dict[str, float]:
    task = build([name], items)[0].task
    found: dict[str, float] = task.process_results(task.task_docs[0], [text])
    return found


def test_programs_are_run(items: Path) -> None:
    assert scored("humaneval", items, ["    return n + 1\n"], 1) == {"pass@1": 1}
    assert scored("humaneval", items, ["    return n\n"], 1) == {"pass@1": 0}
    assert scored("mbpp", items, ["def add(n):\n  return n + 11\n"]) == {"pass@1": 1}
    assert scored("mbpp", items, ["def add(n):\n  raise\n"]) == {"pass@1": 0}
    for name in ("humaneval", "mbpp"):
        assert build([name], items)[0].task.UNSAFE_CODE


class Parrot(LM):
    """Likes short answers, and answers every question alike."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(-float(len(request.args[1])), False) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return [" The answer is 3." for _ in requests]


def test_lm_eval_runs_them_itself(items: Path) -> None:
    """PIQA's right answers alternate and are equally long; one of the eight word problems has the answer 3."""
    built = build(["piqa", "gsm8k", "gsm8k_maj8", "mmlu_virology"], items)
    tasks = {each.task.task_name: each.task for each in built}
    found = evaluate(Parrot(), {"tasks": tasks, "groups": {}}, bootstrap_iters=0)
    assert found is not None
    values = {name: held.get("acc,none", held.get("exact_match,all")) for name, held in found["results"].items()}
    assert values == {"piqa": 0.5, "gsm8k": 1 / 8, "gsm8k_maj8": 1 / 8, "mmlu_virology": 1 / 3}
    assert [len(sample["resps"][0]) for sample in found["samples"]["gsm8k_maj8"]] == [8] * 8
    assert found["configs"]["piqa"]["doc_to_text"] == "Question: {{goal}}\nAnswer:"

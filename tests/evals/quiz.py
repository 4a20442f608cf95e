"""Small benchmarks of our own as lm-eval tasks, and a model whose answers are a hash of what it was asked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask, Task

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.tasks import Built


def rows(n: int, subject: str) -> list[dict[str, Any]]:
    return [
        {"question": f"{subject}: {i} and {i % 3}?", "choices": [f"{i}", f"{i + 1}", "none"], "gold": i % 3, "answer": str(i)}
        for i in range(n)
    ]


def _task(name: str, n: int, **config: Any) -> Task:
    held = {"test": datasets.Dataset.from_list(rows(n, name)), "train": datasets.Dataset.from_list(rows(9, f"{name} example"))}
    return ConfigurableTask(
        config={
            "task": name, "custom_dataset": lambda **_: held, "test_split": "test", "fewshot_split": "train", "num_fewshot": 2,
            "doc_to_text": "{{question}}", "metadata": {"version": 1}, **config,
        }
    )  # fmt: skip


def choices(name: str = "sums", n: int = 8) -> Task:
    """Multiple choice, two shots."""
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
    return _task(
        name, n, output_type="multiple_choice", doc_to_choice="choices", doc_to_target="gold", metric_list=metrics
    )  # fmt: skip


def writing(name: str = "writing", n: int = 6, repeats: int = 1) -> Task:
    """Texts, right where the sum of their bytes is odd; of `repeats` the share that is."""

    def process_results(doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        texts = results[0] if isinstance(results[0], list) else [results[0]]
        assert len(texts) == repeats
        return {"share": sum(sum(text.encode()) % 2 for text in texts) / repeats}

    return _task(
        name, n, output_type="generate_until", doc_to_target="answer", repeats=repeats, process_results=process_results,
        generation_kwargs={"until": ["\n"], "max_gen_toks": 8, "do_sample": repeats > 1, "temperature": float(repeats > 1)},
        filter_list=[{"name": "all", "filter": [{"function": "take_first_k", "k": repeats}]}],
        metric_list=[{"metric": "share", "aggregation": "mean", "higher_is_better": True}],
    )  # fmt: skip


def quizzes() -> list[Built]:
    """A collection of two choice tasks, texts, texts of three samples, and a task whose programs would be run."""
    pair = Benchmark("sums", "Sums", "Math", 2, "acc", "by its log-probability", members=("a", "b"))
    one = Benchmark("writing", "Writing", "Code", 2, "share", "by the sum of its bytes")
    three, code = (Benchmark(name, name, "Code", 2, "share", "", runs_code=name == "code") for name in ("writing_maj3", "code"))
    return [
        Built(pair, choices("sums_a"), {"sums/a.jsonl": "1"}),
        Built(pair, choices("sums_b", 5), {"sums/b.jsonl": "2"}),
        Built(one, writing(), {}),
        Built(three, writing("writing_maj3", repeats=3), {}),
        Built(code, writing("code"), {}),
    ]


class Hashed(LM):
    """Answers from a hash of the request and of how often it was asked before."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.progress: Callable[[int, int], None] | None = None

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(-value / 1e9, value % 2 == 0) for value in self._values(requests)]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return [-value / 1e9 for value in self._values(requests)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return [f"{value:x}" for value in self._values(requests)]

    def _values(self, requests: list[Instance]) -> list[int]:
        seen: Counter[int] = Counter()
        found = []
        for done, request in enumerate(requests, 1):
            self.asked += 1
            if self.progress is not None:
                self.progress(done, len(requests))
            text = repr((request.args, seen[id(request)]))
            seen[id(request)] += 1
            found.append(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]))
        return found

"""How texts that a model wrote are scored where lm-eval's own way is not the paper's: answers extracted and compared by maths/,
several answers put to the vote, programs run in the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.sources.family import MEAN

TEMPERATURE = 0.7  # of answers that are put to the vote; the paper does not say
Doc = Mapping[str, Any]
Score = Callable[[Doc, Sequence[str]], float]


def written(benchmark: Benchmark, score: Score, tokens: int) -> dict[str, Any]:
    """Keys of an lm-eval configuration: texts of at most `tokens`, greedy or as many samples as the benchmark takes votes, and
    `score` of all of an item's texts as the value of its metric."""
    greedy = benchmark.votes == 1
    return {
        "generation_kwargs": {
            "max_gen_toks": tokens, "do_sample": not greedy, "temperature": 0.0 if greedy else TEMPERATURE,
        },
        "repeats": benchmark.votes,
        "filter_list": [{"name": "all", "filter": [{"function": "take_first_k", "k": benchmark.votes}]}],
        "process_results": lambda doc, results: {benchmark.metric: score(doc, results[0])},
        "metric_list": [{"metric": benchmark.metric, **MEAN}],
    }  # fmt: skip


def score_gsm8k(doc: Doc, texts: Sequence[str]) -> float:
    """1 if the number that most texts answer is that of the solution."""
    from mistral7b.evals.maths.gsm8k import extract
    from mistral7b.evals.maths.vote import majority

    vote = majority([extract(text) for text in texts])
    return float(vote is not None and vote.answer == extract(doc["answer"]))


def score_math(doc: Doc, texts: Sequence[str]) -> float:
    """1 if the answer that most texts give is equivalent to that of the solution."""
    from mistral7b.evals.maths.equivalent import equivalent
    from mistral7b.evals.maths.extract import extract
    from mistral7b.evals.maths.vote import majority

    vote = majority([extract(text) for text in texts], equivalent)
    return float(vote is not None and equivalent(vote.answer, extract(doc["solution"])))


class Programs:
    """Scores programs: the share of an item's texts whose program passes its tests. `name` is humaneval or mbpp. The sandbox is
    made when the first program is run, and kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._sandbox: Any = None

    def __call__(self, doc: Doc, texts: Sequence[str]) -> float:
        """Raises what evals.sandbox raises where this machine cannot contain a program."""
        from mistral7b.evals.code import score_humaneval, score_mbpp
        from mistral7b.evals.sandbox.sandbox import Sandbox

        if self._sandbox is None:
            self._sandbox = Sandbox()
        score = {"humaneval": score_humaneval, "mbpp": score_mbpp}[self.name]
        return float(score(doc, texts, self._sandbox).pass_at(1))

"""One benchmark measured: its tasks asked and scored, and their items put together into one figure for each metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from lm_eval.api.metrics import mean
from lm_eval.api.model import LM

from mistral7b.evals.asking import ask, prepare, score
from mistral7b.evals.intervals import interval
from mistral7b.evals.results import Estimate, Item, Measured
from mistral7b.evals.tasks import Built

Aggregate = Callable[[Sequence[Any]], float]


class Progress(Protocol):
    """Told how many items are done, of how many, and what is being run."""

    def __call__(self, done: int, total: int, /, label: str = "") -> None: ...


def measure(
    lm: LM,
    parts: Sequence[Built],
    *,
    limit: int | None,
    seed: int,
    chat: bool,
    keep_prompts: bool,
    progress: Progress,
) -> Measured:
    """The tasks of one benchmark, on the first `limit` items of each."""
    benchmark = parts[0].benchmark
    items: list[Item] = []
    total, started = count(parts, limit), time.perf_counter()
    for part in parts:
        told = partial(_tell, progress, part.task.task_name, len(items), count([part], limit), total)
        told(0, 1)
        prepare(lm, part.task, limit=limit, seed=seed, chat=chat)
        ask(lm, part.task, told)
        items += score(lm, part.task, limit=limit, keep_prompts=keep_prompts)
    progress(len(items), total, benchmark.name)
    aggregates = parts[-1].task.aggregation()
    estimates = estimate(items, aggregates, seed)
    metric = of_record(benchmark.metric, estimates)
    members = {}
    if len(parts) > 1:
        for part in parts:
            own = [item for item in items if item.task == part.task.task_name]
            members[part.task.task_name] = estimate(own, aggregates, seed)[metric]
    return Measured(
        benchmark=benchmark.name,
        shots=max(part.task.get_config("num_fewshot") for part in parts),
        metric=metric,
        n=len(items),
        of=count(parts, None),
        estimates=estimates,
        members=members,
        files=files_of(parts),
        cut=sum(item.cut for item in items),
        seconds=round(time.perf_counter() - started, 3),
        items=tuple(items),
    )


def _tell(progress: Progress, name: str, before: int, size: int, total: int, done: int, of: int) -> None:
    """`done` of `of` requests are so many of the `size` items of a task that comes after `before` others."""
    progress(before + size * done // of, total, name)


def estimate(items: Sequence[Item], aggregates: dict[str, Aggregate], seed: int) -> dict[str, Estimate]:
    """Each "metric,filter" of the items, in one figure: lm-eval's aggregation over all of them, the mean where it has none."""
    values: dict[str, list[Any]] = {}
    for item in items:
        for name, value in item.scores.items():
            values.setdefault(name, []).append(value)
    found = {}
    for name, each in values.items():
        made: Aggregate = aggregates.get(name.split(",")[0], mean)
        found[name] = Estimate(float(made(each)), len(each), interval(each, None if made is mean else made, seed))
    return found


def of_record(metric: str, found: dict[str, Estimate]) -> str:
    """The "metric,filter" that `metric` names, with or without its filter."""
    names = [name for name in found if metric in (name, name.split(",")[0])]
    assert names, f"no {metric} among {list(found)}"
    return names[0]


def count(parts: Sequence[Built], limit: int | None) -> int:
    """How many items the tasks have, at most `limit` of each."""
    sizes = [len(part.task.task_docs) for part in parts]
    return sum(sizes if limit is None else [min(size, limit) for size in sizes])


def files_of(parts: Sequence[Built]) -> dict[str, str]:
    """sha256 of the files that the tasks were read from, by name."""
    return dict(sorted({name: digest for part in parts for name, digest in part.files.items()}.items()))

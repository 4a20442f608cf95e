"""Benchmarks run on a model, one after the other: what is finished is written down before the next begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

from mistral7b.errors import DataError
from mistral7b.evals import folder
from mistral7b.evals.measure import Progress, count, files_of, measure
from mistral7b.evals.results import Measured, NotRun, Results
from mistral7b.evals.tasks import Built

NEEDS_ALLOW_CODE = "needs --allow-code, since the programs that the model writes are run"


def evaluate(
    lm: LM,
    built: Sequence[Built],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    allow_code: bool = False,
    out: Path | None = None,
    chat: bool = False,
    keep_prompts: bool = False,
    model: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    not_run: Sequence[NotRun] = (),
) -> Results:
    """Runs the tasks that were built, those of one benchmark together, on the first `limit` items of each task.

    Benchmarks that run programs are not run without `allow_code`. `chat` puts prompts through the model's chat template.
    `model`, `settings` and `not_run` go into the results beside what is known here. With a folder `out` every benchmark's items
    and the results so far are on disk before the next begins, and what the folder has is not run again.
    Raises DataError if `out` holds a run of another model, of other settings or on other data.
    """
    facts = dict(model or {})
    asked = {**(settings or {}), "limit": limit, "seed": seed, "allow_code": allow_code, "chat": chat, "prompts": keep_prompts}
    groups: dict[str, list[Built]] = {}
    for each in built:
        groups.setdefault(each.benchmark.name, []).append(each)
    refused = [name for name, parts in groups.items() if parts[0].benchmark.runs_code and not allow_code]
    missing = (*not_run, *(NotRun(name, NEEDS_ALLOW_CODE) for name in refused))
    groups = {name: parts for name, parts in groups.items() if name not in refused}
    total = sum(count(parts, limit) for parts in groups.values())
    answered = 0

    def told(done: int, _: int, label: str = "") -> None:
        if progress is not None:
            progress(answered + done, total, label)

    def so_far() -> Results:
        return Results(facts, asked, tuple(finished[name] for name in groups if name in finished), missing)

    finished = _resumed(out, facts, asked, groups) if out is not None else {}
    if out is not None:
        folder.sweep(out)
        folder.keep(out, so_far())
    for name, parts in groups.items():
        if name not in finished:
            finished[name] = measure(lm, parts, limit=limit, seed=seed, chat=chat, keep_prompts=keep_prompts, progress=told)
            if out is not None:
                folder.keep(out, so_far(), finished[name])
        answered += finished[name].n
    return so_far()


def _resumed(
    out: Path, model: Mapping[str, Any], settings: Mapping[str, Any], groups: Mapping[str, Sequence[Built]]
) -> dict[str, Measured]:
    finished = {name: held for name, held in folder.resume(out, model, settings).items() if name in groups}
    for name, held in finished.items():
        if held.files != files_of(groups[name]):
            raise DataError(f"{out} holds {name} as measured on other data; name another folder")
    return finished

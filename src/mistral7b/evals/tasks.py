"""lm-eval tasks by the names of our benchmarks, on local files or on the hub.

A task's prompts, filters and metrics are those of lm-eval's own YAML, changed where its family (sources/) says so; the items,
the split that is asked and the one that shots come from are given here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm_eval.api.task import Task

from mistral7b.errors import DataError, RequestError
from mistral7b.evals.benchmarks import BENCHMARKS, BY_NAME, PRESETS, Benchmark
from mistral7b.evals.given import Data, GivenTask, Rows
from mistral7b.evals.sources.families import FAMILIES
from mistral7b.evals.sources.family import Family
from mistral7b.evals.sources.files import Folder
from mistral7b.evals.sources.hub import load_hub
from mistral7b.evals.templates import compiled


@dataclass(frozen=True, slots=True)
class Built:
    """`task` is ready to be asked: its shots set, its few-shot draws seeded. `benchmark` is what its items count towards: the
    collection, or where a member was asked for by itself, that member. `files` are the sha256 of what was read, by name within
    the data folder; of data from the hub the fingerprint of each split."""

    benchmark: Benchmark
    task: Task
    files: Mapping[str, str]


def known() -> list[str]:
    """All names that `build` takes: presets, benchmarks, members of collections."""
    return [*PRESETS, *BY_NAME, *_members()]


def expand(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks that `names` ask for, each once, in their order; a preset's in the order of the table.

    Raises RequestError for a name that nothing has.
    """
    members = _members()
    found: dict[str, Benchmark] = {}
    for name in names:
        if name in PRESETS:
            found |= {each.name: each for each in BENCHMARKS if name in each.presets}
        elif name in BY_NAME or name in members:
            found[name] = BY_NAME.get(name) or members[name]
        else:
            near = difflib.get_close_matches(name, known(), 1)
            hint = f"did you mean {near[0]}?" if near else "mistral7b eval list has them all"
            raise RequestError(f"there is no benchmark {name}; {hint}")
    return list(found.values())


def build(names: Sequence[str], data: Path | None, *, shots: int | None = None, seed: int = 0) -> list[Built]:
    """The tasks of `names`, from the folder `data` (docs/evaluation-data.md has its layout), or from the hub.

    `shots` replaces each benchmark's own number of examples. `seed` draws the examples where they are not the same for all items.
    Raises RequestError for an unknown name or more shots than there are, DataError for data that is missing or broken.
    """
    return [_build(benchmark, part, data, shots, seed) for benchmark in expand(names) for part in benchmark.members or ("",)]


def _members() -> dict[str, Benchmark]:
    """Each member as a benchmark of its own: no column of published figures is about it."""
    return {
        f"{whole.name}_{member}": replace(
            whole, name=f"{whole.name}_{member}", title=f"{whole.title} {member.replace('_', ' ')}", presets=(), members=(member,)
        )
        for whole in BENCHMARKS
        for member in whole.members
    }


def _build(benchmark: Benchmark, member: str, data: Path | None, shots: int | None, seed: int) -> Built:
    family = FAMILIES[benchmark.family]
    config = family.config(benchmark, member)
    splits, files = _splits(family, config, benchmark.title, data, member or benchmark.name)
    asked, pool = family.split_names(splits, config)
    change = config.pop("process_docs", None)  # lm-eval would make this change anew each time it looks at the rows
    if change:  # of the splits that are used only: others may lack what it needs, such as labels
        splits = {**splits, **{name: change(splits[name]) for name in {asked, pool}}}
    samples = (config.get("fewshot_config") or {}).get("samples")
    there = len(samples) if samples is not None else len(splits[pool]) - (pool == asked)
    task = GivenTask(
        splits,
        {
            **compiled(config, splits[asked].features),
            "training_split": None,
            "validation_split": None,
            "test_split": asked,
            "fewshot_split": pool if samples is None else None,
            "num_fewshot": _shots(benchmark, family, shots, there),
        },
    )
    task.set_fewshot_seed(seed)
    return Built(benchmark, task, files)


def _splits(family: Family, config: dict[str, Any], title: str, data: Path | None, name: str) -> tuple[Data, dict[str, str]]:
    """The splits that there are, and the sha256 of their files."""
    if data is None:
        return load_hub(title, config, family.hub)
    folder = Folder(data)
    return {split: Rows(rows) for split, rows in family.read(folder, name).items()}, folder.hashes


def _shots(benchmark: Benchmark, family: Family, asked: int | None, there: int) -> int:
    """How many examples are shown, of `there` that can be."""
    wanted = benchmark.shots if asked is None else asked
    if wanted <= there:
        return wanted
    if asked is not None:
        raise RequestError(f"{benchmark.title} has {there} examples to show, not {asked}; give --shots {there} or fewer")
    if family.fewer:
        return there
    raise DataError(
        f"{benchmark.title} is asked with {wanted} examples, and its data has {there}; fetch it again, or give --shots"
    )

"""What a family of tasks is made of: lm-eval's YAML, what we change in it, and how its local files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks._yaml_loader import load_yaml

from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.sources.files import Folder, Splits

MEAN = {"aggregation": "mean", "higher_is_better": True}


@dataclass(frozen=True, slots=True)
class Family:
    """`yaml` is the path of the configuration within lm-eval's tasks, with {name} for the benchmark, {member} for the member of a
    collection, {file} for it with hyphens; empty for a task that lm-eval does not have. `read(folder, member or name)` gives the
    splits of local files. `changes(benchmark)` replaces keys of the configuration, and of its generation_kwargs; where those
    include every function of the YAML, `plain` keeps lm-eval from importing them (some need a network or further packages as
    they are imported). `hub` are the configurations of the data set that are put end to end, if not the one that the YAML
    names. `fewer`: where data has fewer examples than the paper shows, those are shown.
    """

    yaml: str
    read: Callable[[Folder, str], Splits]
    changes: Callable[[Benchmark], Mapping[str, Any]] = lambda _: {}
    plain: bool = False
    hub: Sequence[str] = ()
    fewer: bool = False

    def config(self, benchmark: Benchmark, member: str) -> dict[str, Any]:
        """lm-eval's configuration of the task, under our name, with our changes."""
        config: dict[str, Any] = {}
        if self.yaml:
            path = Path(lm_eval.tasks.__file__).parent / self.yaml.format(
                name=benchmark.name, member=member, file=member.replace("_", "-")
            )
            config = load_yaml(path, resolve_func=not self.plain)
        for key in ("tag", "group", "task_list", "task_alias"):
            config.pop(key, None)
        changes = dict(self.changes(benchmark))
        if "generation_kwargs" in changes:
            changes["generation_kwargs"] = {**config.get("generation_kwargs", {}), **changes["generation_kwargs"]}
        config |= changes
        config["task"] = f"{benchmark.name}_{member}" if len(benchmark.members) > 1 else benchmark.name
        return config

    @staticmethod
    def split_names(splits: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, str]:
        """The split that is asked, by lm-eval's rule, and the one that shots come from: that for shots, the training or the
        validation split, whichever is there first, or that asked, less the item asked."""
        asked = str(config.get("test_split") or config["validation_split"])
        wished: list[Any] = [config.get(key) for key in ("fewshot_split", "training_split", "validation_split")]
        return asked, next((name for name in wished if name in splits), asked)

"""What a run of benchmarks found, as it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mistral7b.evals.intervals import Interval


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a benchmark. `outputs` holds an entry for each request: text, log-probability and greediness of a choice, or
    the texts written; `answers` what lm-eval's filters made of texts; `scores` a value for each "metric,filter".

    `prompt_sha256` is of the UTF-8 prompt; where every choice has a prompt of its own (WinoGrande), of all of them with a NUL
    between. `prompt` holds them if they were asked for. One that is `cut` was longer than the model's context: it lost its
    beginning, as in lm-eval's hf backend.
    """

    task: str
    doc_id: int
    prompt_sha256: str
    prompt: list[str] | None
    cut: bool
    outputs: list[Any]
    answers: dict[str, Any]
    target: Any
    scores: dict[str, Any]

    def to_line(self) -> str:
        kept = {name: value for name, value in asdict(self).items() if not (name == "prompt" and value is None)}
        return json.dumps(kept, ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Item:
        return cls(**{"prompt": None, **json.loads(line)})


@dataclass(frozen=True, slots=True)
class Estimate:
    """The `value` of a metric over `n` items, and its 95% interval where there is one."""

    value: float
    n: int
    interval: Interval | None

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Estimate:
        interval = held["interval"]
        return cls(held["value"], held["n"], None if interval is None else Interval(**interval))


_PLAIN = ("benchmark", "shots", "metric", "n", "of", "cut", "files", "seconds")  # fields that are written as they are


@dataclass(frozen=True, slots=True)
class Measured:
    """One benchmark that was run: `shots` examples in front of each item, `n` of its `of` items; `estimates` by
    "metric,filter", of which `metric` is the one of record. A benchmark of several `members` (the 57 subjects of MMLU) is
    scored over all their items together; `members` has each one's own value and count. `seconds` is what this process took:
    answers found in a folder cost none. `cut` items were longer than the model's context. `files` are the sha256 of the data
    that was read."""

    benchmark: str
    shots: int
    metric: str
    n: int
    of: int
    estimates: dict[str, Estimate]
    members: dict[str, Estimate]
    files: dict[str, str]
    seconds: float
    cut: int
    items: tuple[Item, ...] = field(repr=False)

    @property
    def score(self) -> Estimate:
        return self.estimates[self.metric]

    @property
    def mean_of_members(self) -> float:
        """Each member counted once, whatever its size."""
        return sum(member.value for member in self.members.values()) / len(self.members)

    def to_json(self) -> dict[str, Any]:
        """Without the items, which have lines of their own."""
        kept = {name: getattr(self, name) for name in _PLAIN}
        estimates = {name: asdict(estimate) for name, estimate in self.estimates.items()}
        members = {name: asdict(member) for name, member in self.members.items()}
        return {**kept, "score": asdict(self.score), "estimates": estimates, "members": members}

    @classmethod
    def from_json(cls, held: Mapping[str, Any], items: tuple[Item, ...]) -> Measured:
        kept: dict[str, Any] = {name: held[name] for name in _PLAIN}
        for name in ("estimates", "members"):
            kept[name] = {key: Estimate.from_json(each) for key, each in held[name].items()}
        return cls(**kept, items=items)


@dataclass(frozen=True, slots=True)
class NotRun:
    """A benchmark that was asked for, and why there is no figure."""

    benchmark: str
    why: str


@dataclass(frozen=True, slots=True)
class Results:
    """All of a run: `model` says which weights, `settings` what could change a figure."""

    model: dict[str, Any]
    settings: dict[str, Any]
    measured: tuple[Measured, ...]
    not_run: tuple[NotRun, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "settings": self.settings,
            "benchmarks": [each.to_json() for each in self.measured],
            "not_run": [asdict(each) for each in self.not_run],
        }

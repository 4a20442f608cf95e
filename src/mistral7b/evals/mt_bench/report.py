"""What a run found: means and deviations by system prompt, turn and category, beside the published figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mistral7b.checkpoint.aside import written
from mistral7b.evals.mt_bench.questions import TURNS
from mistral7b.evals.mt_bench.run import Key, Outcome
from mistral7b.evals.published import TABLE4
from mistral7b.tokens.guardrail import SAFE_PROMPT

# arXiv 2310.06825, table 4: Mistral 7B Instruct v0.1, ten iterations. The judge is not ours.
_PROMPTS = {"none": "no system prompt", "llama2": "Llama 2 prompt", "mistral": "Mistral prompt"}
PUBLISHED = {_PROMPTS[prompt]: (found.value, found.spread) for prompt, found in TABLE4.items()}
PUBLISHED_AS = "as published for Mistral 7B Instruct v0.1 (arXiv 2310.06825, table 4); not measured here, by another judge"


@dataclass(frozen=True)
class Score:
    """`mean` over the repeats of each one's mean rating; `deviation`, of the sample, between them: None of fewer than two."""

    mean: float | None
    deviation: float | None
    rated: int

    def __str__(self) -> str:
        if self.mean is None:
            return "not rated"
        return f"{self.mean:.2f}" + ("" if self.deviation is None else f" ± {self.deviation:.2f}")

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "deviation": self.deviation, "rated": self.rated}


@dataclass(frozen=True)
class Column:
    """One system prompt: scores by row, and the turns that have no rating, or no answer, with the reasons."""

    system: str
    scores: dict[str, Score]
    unrated: int
    troubles: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        scores = {row: score.to_json() for row, score in self.scores.items()}
        return {"system": self.system, "scores": scores, "unrated": self.unrated, "troubles": list(self.troubles)}


def columns(outcome: Outcome) -> list[Column]:
    """Every system prompt's figures. Rows are "all", "turn 1", "turn 2", then the categories in the questions' order.

    Turns without a rating are in no mean; their number stands beside it.
    """
    return [_column(outcome, system) for system in outcome.plan.systems]


def _column(outcome: Outcome, system: str) -> Column:
    rows: dict[str, list[Key]] = {name: [] for name in ("all", *(f"turn {turn + 1}" for turn in range(TURNS)))}
    troubles: dict[str, None] = {}
    unrated = 0
    for key, question in outcome.keys(system):
        for row in ("all", f"turn {key[3] + 1}", question.category):
            rows.setdefault(row, []).append(key)
        unrated += outcome.judgments[key]["rating"] is None
        told = (outcome.answers[key]["trouble"], outcome.judgments[key]["trouble"])
        troubles |= dict.fromkeys(trouble for trouble in told if trouble)
    return Column(system, {row: _score(outcome, keys) for row, keys in rows.items()}, unrated, tuple(troubles))


def _score(outcome: Outcome, keys: Sequence[Key]) -> Score:
    repeats: dict[int, list[float]] = {}
    for key in keys:
        rating = outcome.judgments[key]["rating"]
        if rating is not None:
            repeats.setdefault(key[1], []).append(rating)
    means = [fmean(ratings) for ratings in repeats.values()]
    rated = sum(map(len, repeats.values()))
    return Score(fmean(means) if means else None, stdev(means) if len(means) > 1 else None, rated)


def table(outcome: Outcome) -> list[list[str]]:
    """Heading and rows: ours, one column for each system prompt, then the published ones."""
    ours = columns(outcome)
    heading = ["", *(f"{outcome.settings['model']['name']}, {_title(outcome, column.system)}" for column in ours)]
    rows = [heading + [f"published: {name}" for name in PUBLISHED]]
    for row in ours[0].scores:
        published = [f"{mean:.2f} ± {off:.2f}" if row == "all" else "" for mean, off in PUBLISHED.values()]
        rows.append([row, *(str(column.scores[row]) for column in ours), *published])
    turns = TURNS * len(outcome.bench.questions) * outcome.plan.repeats
    rows.append(["without a rating", *(f"{column.unrated} of {turns}" for column in ours), *("" for _ in PUBLISHED)])
    return rows


def notes(outcome: Outcome) -> list[str]:
    """What a reader of the table must know."""
    repeats, questions = outcome.plan.repeats, len(outcome.bench.questions)
    told = [
        f"{questions} questions, repeats: {repeats}, graded by {outcome.settings['judge']['name']}",
        "± is the sample deviation between the repeats' means",
        f"published: {PUBLISHED_AS}",
    ]
    troubles = {trouble for column in columns(outcome) for trouble in column.troubles}
    return told + [f"an answer was left empty, or a judgment not given: {trouble}" for trouble in sorted(troubles)]


def to_json(outcome: Outcome) -> dict[str, Any]:
    published = {name: {"mean": mean, "deviation": off} for name, (mean, off) in PUBLISHED.items()}
    return {
        **outcome.settings,
        "systems": dict(outcome.plan.systems),
        "questions": len(outcome.bench.questions),
        "repeats": outcome.plan.repeats,
        "results": [column.to_json() for column in columns(outcome)],
        "published": {"note": PUBLISHED_AS, **published},
    }


def write(outcome: Outcome, folder: Path) -> None:
    """report.json and report.md. Raises OSError."""
    heading, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table(outcome)]
    lines = ["# MT-Bench", ""]
    lines += ["| " + " | ".join(row) + " |" for row in (heading, ["---", *("---:" for _ in heading[1:])], *rows)]
    lines += ["", *(f"- {note}" for note in notes(outcome)), ""]
    for name, text in (
        ("report.md", "\n".join(lines)),
        ("report.json", json.dumps(to_json(outcome), ensure_ascii=False, indent=1)),
    ):
        with written(folder / name) as file:
            file.write(text.encode())


def _title(outcome: Outcome, system: str) -> str:
    text = outcome.plan.systems[system]
    return "no system prompt" if text is None else "Mistral prompt" if text == SAFE_PROMPT else system

"""The run as a picture: bars by area, like the paper's figure 4, and every benchmark with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral7b.evals.benchmarks import BENCHMARKS, Benchmark
from mistral7b.evals.picture import picture
from mistral7b.evals.published import TABLE2
from mistral7b.evals.report import MODELS
from mistral7b.evals.results import Results

AREAS = ("MMLU", "Knowledge", "Reasoning", "Comprehension", "AGIEval", "Math", "BBH", "Code")  # as in figure 4, left to right
_OURS, _PRINTED = "#d9480f", ("#f2b05e", "#8fb8de", "#5b8cc0", "#b7b7b7")
_WIDE = 0.8  # of the space between two groups


@dataclass(frozen=True, slots=True)
class Area:
    """Means in percent over `members` of the `of` benchmarks of an area: `ours` None where none of them was run, a published
    one missing where the paper's table lacks one of them."""

    name: str
    members: tuple[str, ...]
    of: int
    ours: float | None
    published: dict[str, float]


def areas(results: Results) -> list[Area]:
    """Each area over the members that were run, so that a published bar is the mean of the same benchmarks as ours; where none
    was run, over those the paper's table has. Of a benchmark that is asked with and without votes, the voted one counts."""
    ours = {each.benchmark: 100 * each.score.value for each in results.measured}
    found = []
    for name in AREAS:
        benchmarks = [each.name for each in BENCHMARKS if each.category == name and not _is_voted_too(each)]
        run = [each for each in benchmarks if each in ours]
        shown = run or [each for each in benchmarks if each in TABLE2]
        published = {}
        if shown and all(each in TABLE2 for each in shown):
            published = {model: _mean([_printed(each)[model] for each in shown]) for model in MODELS}
        mean = _mean([ours[each] for each in run]) if run else None
        found.append(Area(name, tuple(shown), len(benchmarks), mean, published))
    return found


def draw(results: Results, path: Path) -> None:
    """Writes a PNG. Published bars are hatched; what was not run says so where its bar would stand. Raises what `picture`
    raises."""
    with picture(path, (13, 9)) as figure:
        above, below = figure.subplots(2, 1)
        _draw_areas(above, results)
        _draw_benchmarks(below, results)
        for axes in (above, below):
            axes.set_ylabel("percent")
            axes.grid(axis="y", alpha=0.3)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)


def _draw_areas(axes: Any, results: Results) -> None:
    found = areas(results)
    width = _WIDE / (1 + len(MODELS))
    left = [place - _WIDE / 2 + width / 2 for place in range(len(found))]
    ours = [(at, area.ours) for at, area in zip(left, found, strict=True) if area.ours is not None]
    axes.bar([at for at, _ in ours], [value for _, value in ours], width, color=_OURS, label=_name(results))
    for which, model in enumerate(MODELS):
        bars = [(at + (which + 1) * width, area.published[model]) for at, area in zip(left, found, strict=True) if area.published]
        axes.bar([at for at, _ in bars], [value for _, value in bars], width, color=_PRINTED[which], hatch="//",
                 edgecolor="white", label=f"{model}, published")  # fmt: skip
    for at, area in zip(left, found, strict=True):
        if area.ours is None:
            axes.text(at, 1, "not run", rotation=90, ha="center", va="bottom", fontsize="small", color=_OURS)
    labels = [area.name if len(area.members) == area.of else f"{area.name}\n{len(area.members)} of {area.of}" for area in found]
    axes.set_xticks(range(len(found)), labels)
    axes.set_title("By area, the mean of its benchmarks")
    axes.legend(fontsize="small", ncols=1 + len(MODELS), loc="upper center")
    axes.set_ylim(0, 110)


def _draw_benchmarks(axes: Any, results: Results) -> None:
    """Those that were asked for, ours with its interval beside the paper's Mistral 7B."""
    ours = {each.benchmark: each for each in results.measured}
    asked = {*ours, *(each.benchmark for each in results.not_run)}
    titles = {each.name: each.title for each in BENCHMARKS if each.name in asked}
    titles |= {name: name for name in ours if name not in titles}
    for place, name in enumerate(titles):
        if name in ours:
            score = ours[name].score
            axes.bar(place - 0.2, 100 * score.value, 0.4, color=_OURS)
            if score.interval is not None:
                low, high = 100 * score.interval.low, 100 * score.interval.high
                axes.vlines(place - 0.2, low, high, color="black", linewidth=1)
        else:
            axes.text(place - 0.2, 1, "not run", rotation=90, ha="center", va="bottom", fontsize="small", color=_OURS)
        if name in TABLE2:
            axes.bar(place + 0.2, _printed(name)[MODELS[0]], 0.4, color=_PRINTED[0], hatch="//", edgecolor="white")
    axes.set_xticks(range(len(titles)), list(titles.values()), rotation=30, ha="right")
    axes.set_title(f"By benchmark, with 95% intervals: {_name(results)}, and {MODELS[0]} as published")
    axes.set_ylim(0, 110)


def _name(results: Results) -> str:
    return str(results.model.get("name", "this model"))


def _is_voted_too(benchmark: Benchmark) -> bool:
    return benchmark.votes == 1 and any(each.family == benchmark.family and each.votes > 1 for each in BENCHMARKS)


def _printed(name: str) -> dict[str, float]:
    return {each.model: each.value for each in TABLE2[name]}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

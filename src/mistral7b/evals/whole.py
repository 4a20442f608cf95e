"""From names on a command line to a report: what is asked for, what can be run, and the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mistral7b import __version__
from mistral7b.api import LLM
from mistral7b.checkpoint.aside import written
from mistral7b.errors import DataError, RequestError
from mistral7b.evals import figure, folder, report
from mistral7b.evals.answers import Answers
from mistral7b.evals.lm import EngineLM
from mistral7b.evals.measure import Progress
from mistral7b.evals.picture import check_drawing
from mistral7b.evals.results import NotRun, Results
from mistral7b.evals.run import NEEDS_ALLOW_CODE, evaluate
from mistral7b.evals.tasks import Built, build, expand


@dataclass(frozen=True, slots=True)
class Settings:
    """`names` of benchmarks and presets, `data` the folder of their items (None: the hub), `shots` in place of the paper's;
    the rest as in `evaluate`."""

    names: tuple[str, ...]
    data: Path | None = None
    limit: int | None = None
    shots: int | None = None
    seed: int = 0
    allow_code: bool = False
    chat: bool = False
    prompts: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks that will be run, and the benchmarks whose data is not there."""

    built: tuple[Built, ...]
    missing: tuple[NotRun, ...]


def prepare(settings: Settings, out: Path | None = None) -> Plan:
    """Reads all data before any model is opened. What a preset brings in may lack its data; what was named itself may not.

    Raises RequestError for an unknown name, too many shots, if nothing is left to run, or if results cannot be drawn and kept
    in the folder `out`; DataError.
    """
    if out is not None:
        check_drawing()
        if out.exists() and not out.is_dir():
            raise RequestError(f"{out} is a file; name a folder for the results")
    built: list[Built] = []
    missing: list[NotRun] = []
    for benchmark in expand(settings.names):
        try:
            built += build([benchmark.name], settings.data, shots=settings.shots, seed=settings.seed)
        except DataError as error:
            if benchmark.name in settings.names:
                raise
            missing.append(NotRun(benchmark.name, str(error)))
    if any(settings.allow_code or not each.benchmark.runs_code for each in built):
        return Plan(tuple(built), tuple(missing))
    refused = NotRun(built[0].benchmark.name, NEEDS_ALLOW_CODE) if built else missing[0]
    raise RequestError(f"nothing of {' '.join(settings.names)} can be run: {refused.benchmark}: {refused.why}")


def run_all(
    llm: LLM,
    about: Mapping[str, Any],
    plan: Plan,
    settings: Settings,
    *,
    adapter: str | None = None,
    out: Path | None,
    progress: Progress,
) -> Results:
    """Runs a plan on a model, through its `adapter` if one is named; `about` is what the results are to tell of it.

    `out` then has results.json, items/, report.md, figure.png, and answers.jsonl, from which a run that was stopped goes on.
    Raises DataError if `out` holds another run, or one is writing there.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with Answers(out / folder.ANSWERS if out is not None else None) as answers:
        lm = EngineLM(llm, answers=answers, seed=settings.seed, adapter=adapter)
        results = evaluate(
            lm, plan.built, limit=settings.limit, seed=settings.seed, progress=progress, allow_code=settings.allow_code,
            out=out, chat=settings.chat, keep_prompts=settings.prompts, model={**about, "digest": lm.digest},
            settings={
                "benchmarks": settings.names, "shots": settings.shots, "mistral7b": __version__, "lm_eval": version("lm_eval"),
            },
            not_run=plan.missing,
        )  # fmt: skip
        if out is not None:
            with written(out / "report.md") as file:
                file.write(report.markdown(results).encode())
            figure.draw(results, out / "figure.png")
    return results

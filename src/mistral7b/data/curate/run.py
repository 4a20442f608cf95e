"""`curate`: a recipe in, a folder of documents out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mistral7b.data.curate.executors import Progress, local, ray, slurm
from mistral7b.data.curate.plan import plan
from mistral7b.data.curate.recipe import CurateRecipe
from mistral7b.data.curate.stages import stages
from mistral7b.data.curate.work import Work, mark_of
from mistral7b.recipe import read_raw, read_recipe


def silent(done: int, total: int, label: str = "") -> None:
    """No progress shown."""


def curate(
    recipe: Path,
    out: Path,
    *,
    workers: int | None = None,
    variables: dict[str, str] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, Any] | None:
    """Run the recipe into the folder `out`, on `workers` processes (default: one a core), and return its report.

    The same recipe and input give the same bytes, whatever the workers. A run that was ended, by a kill or a full disk, goes on
    where it was when it is called again; a finished one is not done again. None: the work was handed to a cluster, and the
    report will be in `out`.

    Raises RecipeError or DataError for a recipe, an input or a folder that will not do, and OSError for what the disk says.
    """
    settings = read_recipe(recipe, CurateRecipe, variables)
    units = plan(settings)
    work = Work(out)
    with work.held(mark_of(settings, units), force=force):
        if not (out / "manifest.json").is_file():
            made = stages(settings, read_raw(recipe, CurateRecipe, variables), units, out)
            if settings.executor != "local":
                (slurm if settings.executor == "slurm" else ray)(settings, made, work).run()
                return None
            for stage in made:
                local(stage, work, workers or os.cpu_count() or 1).run_stage(stage.label, progress)
            work.clear()
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report

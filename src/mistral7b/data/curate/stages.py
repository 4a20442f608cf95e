"""A recipe as datatrove pipelines, one for each stage: local, Slurm and Ray executors run the same ones.

prepare      1 task     index of prompts, classifier
clean        a unit     read, normalise, language, quality, code, toxicity, personal data; fingerprints
signatures   a unit     MinHash of what is left
buckets      a bucket   who shares a bucket
duplicates   1 task     which documents repeat an earlier one
write        a unit     drop those, decontaminate, split, write
finish       1 task     manifest and report
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets

from mistral7b.data.curate.code import CodeStep
from mistral7b.data.curate.cut import SplitLongStep
from mistral7b.data.curate.decontaminate import DecontaminateStep
from mistral7b.data.curate.documents import Assign, Write
from mistral7b.data.curate.duplicates import (
    EXACT,
    NEAR,
    DropDuplicates,
    FindDuplicates,
    Reread,
    Save,
    Signatures,
    minhash_config,
)
from mistral7b.data.curate.finish import Finish
from mistral7b.data.curate.language import LanguageStep
from mistral7b.data.curate.normalise import NormaliseStep
from mistral7b.data.curate.personal import PersonalDataStep
from mistral7b.data.curate.plan import Unit
from mistral7b.data.curate.prepare import Prepare
from mistral7b.data.curate.quality import QualityStep
from mistral7b.data.curate.read import Read
from mistral7b.data.curate.recipe import CurateRecipe
from mistral7b.data.curate.step import Desk, Step
from mistral7b.data.curate.toxicity import ToxicityStep
from mistral7b.data.curate.work import Work


@dataclass(frozen=True)
class Stage:
    """`tasks` runs of one pipeline; `label` is what a progress bar says."""

    name: str
    label: str
    tasks: int
    pipeline: list[PipelineStep]


def stages(recipe: CurateRecipe, raw: dict[str, Any], units: list[Unit], out: Path) -> list[Stage]:
    """All stages in order. `raw` is the recipe as written, for the manifest."""
    work, steps, made = Work(out), recipe.steps, []
    first, second = before(recipe, units, work), after(recipe, work)
    if steps.decontaminate is not None or (steps.toxicity is not None and steps.toxicity.classifier is not None):
        made.append(Stage("prepare", "preparing", 1, [Prepare(work.prepared, steps)]))
    made.append(Stage("clean", "cleaning", len(units), [*first, Save(work.kept, steps.exact_dedup)]))
    if steps.minhash is not None:
        signatures = Signatures(work.signatures, steps.minhash)
        buckets = MinhashDedupBuckets(
            str(work.signatures), str(work.buckets), config=minhash_config(steps.minhash), lines_to_buffer=1000
        )
        made.append(Stage("signatures", "comparing", len(units), [Reread(work.kept, steps.minhash), signatures]))
        made.append(Stage("buckets", "comparing", steps.minhash.buckets, [buckets]))
    found = FindDuplicates(recipe, units, work)
    made.append(Stage("duplicates", "comparing", 1, [found]))
    write = [Reread(work.kept), *second, Write(out, work.notes, units)]
    made.append(Stage("write", "writing", len(units), write))
    order = [step.name for step in (*first, *second) if isinstance(step, Step)]
    made.append(Stage("finish", "reporting", 1, [Finish(recipe, raw, units, out, order)]))
    return made


def before(recipe: CurateRecipe, units: list[Unit], work: Work) -> list[Step]:
    """What looks at one document at a time, from the cheapest to the dearest."""
    steps, desk = recipe.steps, Desk(work.books, recipe.samples, recipe.tokenizer)
    made: list[Step] = [Read(desk, recipe, units, work.inputs)]
    if steps.normalise is not None:
        made.append(NormaliseStep(desk, steps.normalise))
    if steps.language is not None:
        made.append(LanguageStep(desk, steps.language))
    made += [QualityStep(desk, name, settings) for name, settings in steps.quality.items()]
    if steps.code is not None:
        made.append(CodeStep(desk, steps.code))
    if steps.toxicity is not None:
        made.append(ToxicityStep(desk, steps.toxicity, work.prepared))
    if steps.personal_data is not None:
        made.append(PersonalDataStep(desk, steps.personal_data))
    return made


def after(recipe: CurateRecipe, work: Work) -> list[PipelineStep]:
    """What comes when duplicates are known."""
    steps, desk = recipe.steps, Desk(work.books, recipe.samples, recipe.tokenizer)
    made: list[PipelineStep] = []
    if steps.exact_dedup is not None:
        made.append(DropDuplicates(EXACT, desk, work.duplicates))
    if steps.minhash is not None:
        made.append(DropDuplicates(NEAR, desk, work.duplicates))
    if steps.decontaminate is not None:
        made.append(DecontaminateStep(desk, steps.decontaminate, work.prepared))
    made.append(Assign(recipe.held_out))
    if steps.split_long is not None:
        made.append(SplitLongStep(desk, steps.split_long))
    return made

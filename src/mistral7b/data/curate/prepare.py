"""What is made once before the first document is read: the index of prompts and the classifier of toxic text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from mistral7b.data.curate.classifier import measure, train
from mistral7b.data.curate.decontaminate import PROMPTS
from mistral7b.data.curate.files import write_json
from mistral7b.data.curate.ngrams import build
from mistral7b.data.curate.prompts import read_prompts
from mistral7b.data.curate.recipe import Steps
from mistral7b.data.curate.toxicity import CLASSIFIER


class Prepare(PipelineStep):
    """One task. Leaves `prepared.json`: prompts looked for and too short, precision and recall of the classifier."""

    type, name = "CURATE", "prepare"

    def __init__(self, folder: Path, steps: Steps) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        told: dict[str, Any] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        if (wanted := self.steps.decontaminate) is not None:
            index = build(read_prompts(wanted.prompts, wanted.keys, wanted.exclude), wanted.n, wanted.shortest)
            index.save(self.folder / PROMPTS)
            n_runs = sum(len(table.runs) for table in index.tables)
            told["prompts"] = {"looked_for": len(index.places), "too_short": index.too_short, "runs": n_runs}
        if self.steps.toxicity is not None and (settings := self.steps.toxicity.classifier) is not None:
            made = train(settings)
            made.save(self.folder / CLASSIFIER)
            told["classifier"] = measure(made, settings).to_json()
        write_json(self.folder / "prepared.json", told)
        yield from ()

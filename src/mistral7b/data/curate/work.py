"""The folder of a run that is not finished: OUT/.work, which goes when the manifest is there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mistral7b import __version__
from mistral7b.data.curate.files import write_json
from mistral7b.data.curate.plan import Unit
from mistral7b.data.curate.recipe import CurateRecipe
from mistral7b.errors import DataError
from mistral7b.recipe import as_json

_OURS = ("manifest.json", "report.json", "report.html", "contamination.jsonl", "toxicity.npz", "train", "held-out", ".work")


@dataclass(frozen=True)
class Work:
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / ".work"

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def kept(self) -> Path:
        return self.folder / "kept"

    @property
    def books(self) -> Path:
        return self.folder / "books"

    @property
    def signatures(self) -> Path:
        return self.folder / "signatures"

    @property
    def buckets(self) -> Path:
        return self.folder / "buckets"

    @property
    def duplicates(self) -> Path:
        return self.folder / "duplicates"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def log(self, stage: str) -> Path:
        """Where datatrove marks the finished tasks of a stage."""
        return self.folder / "stages" / stage

    @contextmanager
    def held(self, mark: str, *, force: bool) -> Iterator[None]:
        """The folder as this run's own. Raises DataError if it holds anything that a run of `mark` did not leave: `force`
        clears what another recipe left; nothing clears what no run left."""
        self.out.mkdir(parents=True, exist_ok=True)
        strangers = sorted(path.name for path in self.out.iterdir() if path.name not in _OURS)
        if strangers:
            raise DataError(
                f"{self.out} holds {strangers[0]!r}, which is no part of a folder of documents; choose another folder"
            )
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataError(f"{self.out}: another curate is at work there; wait for it, or choose another folder") from None
            self._claim(mark, force=force)
            yield

    def _claim(self, mark: str, *, force: bool) -> None:
        run = self.folder / "run.json"
        held = json.loads(run.read_text(encoding="utf-8"))["mark"] if run.is_file() else None
        if held == mark:
            return
        left = [path for path in self.out.iterdir() if path.name != ".work"]
        if (held is not None or left) and not force:
            raise DataError(
                f"{self.out} holds documents of another recipe, input or version; choose another folder, or pass --force"
            )
        for path in [*left, *(path for path in self.folder.iterdir() if path.name != "lock")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(run, {"mark": mark})

    def clear(self) -> None:
        """All but the mark, by which the same command, given again, knows that nothing is to be done."""
        for path in self.folder.iterdir():
            if path.name not in ("run.json", "lock"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def mark_of(recipe: CurateRecipe, units: list[Unit]) -> str:
    """What a run depends on, as one hash: the recipe, this version, and the names, sizes and dates of every file it reads."""
    files = {one.path for unit in units for one in unit.inputs} | set(_named(recipe))
    listed = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    settings = {key: held for key, held in as_json(recipe).items() if key not in ("executor", "slurm", "ray")}
    return hashlib.sha256(json.dumps([__version__, settings, listed], sort_keys=True).encode()).hexdigest()


def _named(recipe: CurateRecipe) -> Iterator[Path]:
    """Files that steps read."""
    steps, given = recipe.steps, [recipe.tokenizer] if recipe.tokenizer else []
    if steps.decontaminate is not None:
        given += steps.decontaminate.prompts
    if steps.toxicity is not None:
        given += (steps.toxicity.words or {}).values()
        if steps.toxicity.classifier is not None:
            given += [steps.toxicity.classifier.train, steps.toxicity.classifier.test]
    for path in given:
        if not path.exists():
            raise DataError(f"{path} is not there; the recipe names it")
        yield from sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]

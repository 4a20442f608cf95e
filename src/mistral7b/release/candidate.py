"""A model that may be released: it passes `verify`, and nobody has to trust its maker to load it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.report import Report
from mistral7b.checkpoint.verify import verify
from mistral7b.config import from_params
from mistral7b.errors import ReleaseError
from mistral7b.release.facts import Facts
from mistral7b.release.manifest import release_manifest, to_bytes
from mistral7b.release.placing import Stamps, stamps

Progress = Callable[[str, int, int], None]  # (stage, bytes done, bytes in all)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that passed, and `manifest`, the object it will be released under, without a card that is still to be made.

    `notes` are lines worth a look before everyone can read the files.
    """

    folder: Path
    report: Report
    facts: Facts
    manifest: Mapping[str, Any]
    stamps: Stamps
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """What to show of it, (label, text)."""
        return rows_of(self.manifest)

    def to_json(self) -> dict[str, Any]:
        return {"manifest": dict(self.manifest), "notes": list(self.notes)}


def candidate_of(folder: Path, facts: Facts, progress: Progress | None = None) -> Candidate:
    """Holds `folder` against all of `verify`, and against what others can be asked to load; writes nothing.

    Raises ReleaseError for a model that fails, and for a pickle, which runs what its maker wrote into it.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder} is not a folder; put the file into one of its own and release that")
    before = stamps(folder)
    report = verify(folder, progress=progress)
    if failed := [check for check in report.checks if check.status == "fail"]:
        raise ReleaseError(f"{folder} is not released, because verify fails at {failed[0].name}: {failed[0].detail}")
    if pickles := [name for name in report.files if name.endswith(".pth")]:
        raise ReleaseError(f"{pickles[0]} is a pickle, which nobody should have to load; convert the model, and release that")
    manifest = release_manifest(facts, open_checkpoint(folder), report)
    to_bytes(manifest)
    notes = [f"everyone will read this path of a machine in mistral7b.json: {path}" for path in _paths(report.training)]
    if facts.licence is None:
        notes.insert(0, "no licence is stated, and without one nobody may use the weights; pass --licence, such as Apache-2.0")
    return Candidate(folder=folder, report=report, facts=facts, manifest=manifest, stamps=before, notes=tuple(notes))


def rows_of(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The manifest in a few lines, (label, text)."""
    files, config = manifest["files"], from_params(manifest["config"])
    rows = [
        ("name", manifest["name"]),
        ("licence", manifest["licence"]),
        ("created", manifest["created"]),
        ("base model", manifest["base_model"]),
        ("network", config.describe()),
        ("files", f"{len(files)}, {sum(file['size'] for file in files.values()):,} bytes"),
    ]
    return [(label, text) for label, text in rows if text is not None]


def _paths(value: object) -> Iterator[str]:
    """The absolute paths in an object of JSON: whoever trained the model may not want to publish them."""
    if isinstance(value, str) and value.startswith(("/", "~/", "C:\\")):
        yield value
    elif isinstance(value, Mapping | list):
        for held in value.values() if isinstance(value, Mapping) else value:
            yield from _paths(held)

"""Report: what `verify` found out about a model, check by check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mistral7b.checkpoint.manifest import FileHash
from mistral7b.config import ModelConfig

Status = Literal["pass", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer; `detail` is made one line of printable characters."""

    name: str
    status: Status
    detail: str

    def __post_init__(self) -> None:
        # Tensor and file names out of a hostile file may hold line ends and terminal codes.
        object.__setattr__(self, "detail", "".join(c if c.isprintable() else " " for c in self.detail))


@dataclass(frozen=True, kw_only=True)
class Report:
    """All checks of one model, in a fixed order. `name` is the last part of its path.

    `variant` is the published model it is, or has the architecture of; None for an own model or one that did not open.
    `dtypes` counts tensors by stored type. `files` are the hashes of the files read, empty if they were not wanted.
    `training` is what mistral7b.json says about how it was trained, `notes` what was read and chosen on opening.
    """

    name: str
    checks: tuple[Check, ...]
    config: ModelConfig | None = None
    variant: str | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, FileHash] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when no check failed."""
        return all(check.status != "fail" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "model": self.name,
            "ok": self.ok,
            "variant": self.variant,
            "config": None if self.config is None else self.config.to_params(),
            "dtypes": dict(self.dtypes),
            "checks": [{"name": check.name, "status": check.status, "detail": check.detail} for check in self.checks],
            "files": {name: found.to_json() for name, found in self.files.items()},
            "training": None if self.training is None else dict(self.training),
            "notes": list(self.notes),
        }

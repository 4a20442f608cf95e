"""The result as a JSON file that can be passed on: it names the weights and the program, not the machine or its folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mistral7b import __version__
from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.config import ModelConfig
from mistral7b.oracles.check import OracleResult


def oracle_report(
    results: Sequence[OracleResult],
    *,
    config: ModelConfig,
    variant: str | None,
    dtype: torch.dtype,
    device: str = "cpu",
    files: Mapping[str, FileHash] | None = None,
) -> dict[str, Any]:
    """What was asked and answered, of which weights (`files`: names and sha256), by which versions, in which type.

    `device` is "cpu" or "cuda". `ok` is true when nothing failed and something passed.
    """
    states = [result.status for result in results]
    return {
        "ok": "fail" not in states and "pass" in states,
        "variant": variant,
        "config": config.to_params(),
        "files": {name: found.to_json() for name, found in (files or {}).items()},
        "versions": {"mistral7b": __version__, "torch": str(torch.__version__)},
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.split(":")[0],
        "results": [asdict(result) for result in results],
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a report as JSON, whole or not at all; an older file is replaced. Raises CheckpointError."""
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    with aside(path, needs=len(text.encode()), folder=False, force=True) as made:
        made.write_text(text, encoding="utf-8")

"""The manifest of a release: every file with its size and sha256, as any manifest.json, and what the model is and came from.

{"format": 1, "name": ..., "created": ..., "licence": ..., "variant": ..., "base_model": ..., "config": {...},
 "weights": {"parameters": ..., "tensors": {"bfloat16": 291}}, "tokenizer": {"file": ..., "sha256": ..., "vocabulary": ...,
 "generation": ...}, "training": {...}, "files": {"config.json": {"sha256": ..., "size": ...}, ...}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mistral7b.checkpoint.folder import Checkpoint
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.checkpoint.report import Report
from mistral7b.errors import ReleaseError
from mistral7b.release.facts import Facts, base_of
from mistral7b.tokens.tokenizer import Tokenizer

FORMAT = 1


def release_manifest(facts: Facts, checkpoint: Checkpoint, report: Report) -> dict[str, Any]:
    """The manifest as an object, of a model in which `verify` found what `report` says."""
    config = checkpoint.config
    return {
        "format": FORMAT,
        "name": facts.name,
        "created": datetime.fromtimestamp(facts.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "licence": facts.licence,
        "variant": report.variant,  # the published model that has this architecture
        "base_model": facts.base_model or base_of(report.training),
        "config": config.to_params(),
        "weights": {"parameters": config.n_params, "tensors": dict(report.dtypes)},
        "tokenizer": _tokenizer(checkpoint, report.files),
        "training": None if report.training is None else dict(report.training),
        "files": {name: held.to_json() for name, held in report.files.items()},
    }


def to_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The one way a manifest is written: sorted keys, two blanks of indent, UTF-8, a line end. What is signed are these bytes."""
    try:
        return (json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except ValueError:  # Python reads NaN and lone surrogates from a mistral7b.json; no other reader of JSON has to
        raise ReleaseError("mistral7b.json holds a number or a text that JSON has no form for; correct it") from None


def _tokenizer(checkpoint: Checkpoint, files: Mapping[str, FileHash]) -> dict[str, Any] | None:
    if checkpoint.tokenizer is None:
        return None
    found = Tokenizer.load(checkpoint.tokenizer)
    # What a GGUF carries was rebuilt into a file that no one else has: the GGUF is its file.
    name = checkpoint.path.name if checkpoint.path.is_file() else found.path.name
    return {"file": name, "sha256": files[name].sha256, "vocabulary": found.vocab_size, "generation": found.version}

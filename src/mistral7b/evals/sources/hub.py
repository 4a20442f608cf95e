"""Benchmark items from the hub, where no local folder is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetsError

from mistral7b.errors import DataError


def load_hub(title: str, config: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """The splits of an lm-eval configuration's data set, those of `names`, or of that which it
    says, end to end; and the fingerprint of each split.

    Raises DataError where there is no such data set, or the hub cannot be reached and no earlier run left a copy.
    """
    path = config.get("dataset_path")
    if path is None:
        raise DataError(f"{title} is not on the hub in a form that can be read; give --data-dir (docs/evaluation-data.md)")
    try:
        wanted: Sequence[str | None] = names or [config.get("dataset_name")]
        parts = [load_dataset(path, name) for name in wanted]
    except (OSError, DatasetsError, ValueError) as error:  # ValueError: an unknown configuration, a missing cache
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{title} cannot be had from the hub ({why}); give a folder with --data-dir") from None
    splits = {name: concatenate_datasets([part[name] for part in parts]) for name in parts[0]}
    return splits, {f"hub:{path}/{name}": split._fingerprint for name, split in splits.items()}

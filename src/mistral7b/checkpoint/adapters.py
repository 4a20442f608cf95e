"""LoRA adapters on disk: PEFT's folder and mistral-finetune's, read into one form and written back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from mistral7b.checkpoint import adapter_mistral, adapter_peft
from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.configs import OWN, read_object
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.write import Row, write_json, write_safetensors
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError
from mistral7b.variants import VARIANTS

Layout = Literal["peft", "mistral"]
_FILES: dict[Layout, tuple[str, str]] = {
    "peft": (adapter_peft.FILE, adapter_peft.FACTS),
    "mistral": (adapter_mistral.FILE, adapter_mistral.FACTS),
}
_HEADERS = 1 << 20  # bytes beside the tensors
_PICKLES = (".bin", ".pt", ".pth")


def read_adapter(path: Path, config: ModelConfig) -> Adapter:
    """The adapter in `path`, a folder or its .safetensors file, for a model of `config`.

    PEFT's folder holds adapter_model.safetensors and adapter_config.json, mistral-finetune's lora.safetensors and params.json.
    Raises CheckpointError or ConfigError, one line, for files that are missing or damaged, for a pickle, for an adapter that
    changes more than LoRA on the projections of a layer does, for weights of other shapes, and for such as are not finite.
    """
    folder, file, layout = _found(path)
    return adapter_peft.read(folder, config) if layout == "peft" else adapter_mistral.read(folder, file, config)


def write_adapter(
    adapter: Adapter,
    target: Path,
    layout: Layout,
    *,
    dtype: torch.dtype | None = None,
    facts: dict[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Writes the folder `target`, whole or not at all, its weights in `dtype` (None: as they are), and `facts` as mistral7b.json
    beside them; returns its files.

    mistral-finetune's layout has one rank and one scale, and its readers want every projection: ranks are filled up with
    zeros, scales moved into lora_B, and what the adapter leaves alone gets zeros. PEFT's needs none of that.
    Raises CheckpointError if `target` stands in the way (`force` replaces it) or a write fails.
    """
    if layout not in get_args(Layout):
        raise CheckpointError(f"there is no layout {layout!r} of adapters; choose one of {', '.join(get_args(Layout))}")
    weights, said = (adapter_peft if layout == "peft" else adapter_mistral).written(adapter)
    rows = []
    for name, weight in weights.items():
        kind = dtype or weight.dtype
        rows.append(Row(name, kind, tuple(weight.shape), partial(weight.to, kind)))
    file, facts_file = _FILES[layout]
    with aside(target, needs=_HEADERS + sum(row.n_bytes for row in rows), folder=True, force=force) as made:
        write_safetensors(made / file, rows, lambda _: None)
        write_json(made / facts_file, said)
        if facts is not None:
            write_json(made / OWN, facts)
    return sorted(target.iterdir())


def convert_adapter(
    source: Path, target: Path, layout: Layout, *, base: Path | None = None, dtype: torch.dtype | None = None, force: bool = False
) -> list[Path]:
    """`write_adapter` of what `read_adapter` reads at `source`, for the model `base` (see `base_config`); raises what they raise,
    and CheckpointError for a `target` that would destroy its source."""
    check_apart(source, target)
    adapter = read_adapter(source, base_config(source, base))
    return write_adapter(adapter, target, layout, dtype=dtype, force=force)


def check_apart(source: Path, target: Path) -> None:
    """Raises CheckpointError if `target` is the adapter `source`, or holds it."""
    if target.resolve() in (source.resolve(), *source.resolve().parents):
        raise CheckpointError(f"{target} is or holds the adapter {source}; choose another target")


def base_config(path: Path, base: Path | None = None) -> ModelConfig:
    """The architecture an adapter was made for: of the model `base`, else as the adapter tells it.

    Raises CheckpointError if it does not: PEFT's folder only has a model's name, which must be a folder that exists or a
    published model.
    """
    if base is not None:
        return open_checkpoint(base).config
    folder, _, layout = _found(path)
    if layout == "mistral":
        return adapter_mistral.config_of(folder)
    facts = folder / adapter_peft.FACTS
    named = read_object(facts).get("base_model_name_or_path") if facts.is_file() else None
    if published := [variant.config for variant in VARIANTS.values() if variant.hub_id == named and named]:
        return published[0]
    if isinstance(named, str) and named and Path(named).is_dir():
        return open_checkpoint(Path(named)).config
    raise CheckpointError(f"{path} does not tell which model it is for; name it with --base")


def _found(path: Path) -> tuple[Path, str, Layout]:
    """(Folder, file of the weights, layout)."""
    if path.suffix in _PICKLES and path.is_file():
        raise CheckpointError(f"{path} is a pickle, which is not opened; save the adapter as safetensors")
    if path.is_file():
        return path.parent, path.name, "peft" if path.name == adapter_peft.FILE else "mistral"
    if path.is_dir():
        if (path / adapter_peft.FACTS).is_file() or any(path.glob("adapter_model.*")):
            return path, adapter_peft.FILE, "peft"
        if (path / adapter_mistral.FILE).is_file():
            return path, adapter_mistral.FILE, "mistral"
    wanted = " or ".join(file for file, _ in _FILES.values())
    raise CheckpointError(f"{path} is no adapter: give a folder with {wanted}, or that file")

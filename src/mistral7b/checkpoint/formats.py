"""Which weight formats stand in a folder, and which of them is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mistral7b.checkpoint import configs, consolidated, hf, quantized
from mistral7b.checkpoint.aside import PTH
from mistral7b.errors import CheckpointError

Format = Literal["hf", "consolidated", "pth", "quantized", "gguf"]

# In order of preference: consolidated safetensors are mapped as they are, HF needs wq and wk reordered, a .pth is a pickle.
# What was quantised is less exact than an original beside it.
_FILES: dict[Format, tuple[str, ...]] = {
    "consolidated": (consolidated.SINGLE, consolidated.INDEX),
    "hf": (hf.SINGLE, hf.INDEX),
    "pth": (PTH,),
    "quantized": (quantized.SINGLE, quantized.INDEX),
}
_OWN_CONFIG: dict[Format, str] = {
    "consolidated": configs.PARAMS, "hf": configs.HF, "pth": configs.PARAMS, "quantized": configs.HF,
}  # fmt: skip
_WANTED = (
    "a model folder has config.json beside model.safetensors (or its shards and index), "
    "or params.json beside consolidated.safetensors or consolidated.00.pth"
)


def standing(folder: Path) -> dict[Format, str]:
    """The formats whose weights stand in `folder`, best first, each with the file it is known by."""
    found: dict[Format, str] = {}
    for kind, files in _FILES.items():
        if present := [file for file in files if (folder / file).is_file()]:
            found[kind] = present[0]
    return found


def choose(folder: Path) -> tuple[Format, list[str]]:
    """The format to read, and a note when there was a choice. Raises CheckpointError for a folder that is not a model.

    A format whose own config is missing comes after one that is complete.
    """
    found = standing(folder)
    if not found:
        raise CheckpointError(_why_not(folder))
    ranked = sorted(found, key=lambda kind: not (folder / _OWN_CONFIG[kind]).is_file())
    if len(ranked) == 1:
        return ranked[0], []
    left = " and ".join(found[kind] for kind in ranked[1:])
    return ranked[0], [f"the folder holds {len(found)} formats: {found[ranked[0]]} is read, {left} is not"]


def config_first(kind: Format) -> str:
    """The config file that belongs to a format: params.json or config.json."""
    return _OWN_CONFIG[kind]


def _why_not(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file() or (folder / "lora.safetensors").is_file():
        return f"{folder} is an adapter, not a model; put it into its model with mistral7b merge"
    if any(folder.glob("pytorch_model*.bin")):
        return f"{folder} holds pytorch_model.bin, a pickle that is not opened: fetch the safetensors files of this model instead"
    if shards := sorted(folder.glob("model-*.safetensors")):
        return f"{folder} holds {shards[0].name} but no {hf.INDEX}; fetch the index too"
    if any((folder / file).is_file() for file in (configs.PARAMS, configs.HF)):
        return f"{folder} has a config but no weights: {_WANTED}"
    return f"{folder} is not a model: {_WANTED}"

"""Looking into folders of checkpoints: names, hashes, bits."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.checkpoint.hashes import tensor_hashes
from mistral7b.checkpoint.write import raw_bytes


def hashes(path: Path) -> dict[str, str]:
    with open_source(open_checkpoint(path)) as source:
        return tensor_hashes(source)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def load(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(path)
    return found


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: bytes(raw_bytes(tensor)) for name, tensor in tensors.items()}

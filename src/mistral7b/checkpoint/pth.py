"""PthSource: consolidated.00.pth, the release format of the first torrent, read as tensors and nothing else."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

from mistral7b.checkpoint.aside import PTH
from mistral7b.checkpoint.residency import drop_pages
from mistral7b.checkpoint.source import ClosesItself, in_model_order
from mistral7b.errors import CheckpointError

SECOND_FILE = "consolidated.01.pth"


class PthSource(ClosesItself):
    """A TensorSource over one .pth, mapped from disk. A .pth is a pickle: only torch's weights-only reader opens it.

    Raises CheckpointError for a file that is missing, truncated, in the format before torch 1.6 (which cannot be mapped),
    one of several model-parallel parts, or that holds anything but named tensors.
    """

    def __init__(self, folder: Path, *, mapped: bool = True) -> None:
        self._path = folder / PTH
        if (folder / SECOND_FILE).exists():
            raise CheckpointError(f"{folder} holds {SECOND_FILE}: a model split over several .pth files is no Mistral 7B")
        self._tensors = _load(self._path)
        self._mapped = mapped

    def names(self) -> list[str]:
        return in_model_order(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensor(name).shape)

    def dtype(self, name: str) -> torch.dtype:
        return self._tensor(name).dtype

    def get(self, name: str) -> torch.Tensor:
        if self._mapped:
            return self._tensor(name).contiguous()
        out = torch.empty(self.shape(name), dtype=self.dtype(name))
        self.fill(name, out)
        return out

    def fill(self, name: str, out: torch.Tensor) -> None:
        mapped = self._tensor(name)
        out.copy_(mapped)
        drop_pages(mapped)

    def close(self) -> None:
        self._tensors = {}

    def _tensor(self, name: str) -> torch.Tensor:
        if name not in self._tensors:
            raise CheckpointError(f"{self._path} lacks {name}; the download is incomplete, or this is another architecture")
        return self._tensors[name]


def _load(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {path.name}")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is truncated or in the format before torch 1.6, which is not read; fetch it again")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} refused: it contains more than tensors and could run code; do not open it elsewhere"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever else a damaged or hostile archive provokes is the file's fault
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is truncated or damaged ({line}); fetch it again") from None
    if not isinstance(found, dict) or not all(isinstance(k, str) and type(v) is torch.Tensor for k, v in found.items()):
        raise CheckpointError(f"{path} refused: it must hold one table of named tensors and holds something else")
    if odd := [name for name, tensor in found.items() if tensor.layout != torch.strided or tensor.device.type != "cpu"]:
        raise CheckpointError(f"{path} refused: {odd[0]} is not a plain dense tensor")
    return found

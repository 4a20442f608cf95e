"""Shards: the tensors of one or several safetensors files, as named and laid out on disk."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mistral7b.config import parse_object
from mistral7b.errors import CheckpointError, ConfigError

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}


class Shards:
    """Opened safetensors files; every name belongs to exactly one file. Headers are read at once, data when asked for.

    Names matching `ignored` are not held. Raises CheckpointError for a file that is missing, truncated or has a damaged
    header, and where the index and the files disagree.
    """

    def __init__(self, folder: Path, *, single: str, index: str, ignored: str = "$^") -> None:
        placed = _read_index(folder, index, ignored) if not (folder / single).is_file() else None
        files = [single] if placed is None else sorted(set(placed.values()))
        if missing := [file for file in files if not (folder / file).is_file()]:
            raise CheckpointError(
                f"{folder} lacks the shard {missing[0]}; fetch it again ({len(missing)} of {len(files)} missing)"
            )
        self._folder = folder
        self._handles = {file: _open(folder / file) for file in files}
        self._file_of: dict[str, str] = {}
        for file, handle in self._handles.items():
            for name in handle.keys():  # noqa: SIM118 - a safe_open handle is not iterable
                if re.fullmatch(ignored, name):
                    continue
                if placed is not None and placed.get(name) != file:
                    raise CheckpointError(f"{file} holds {name}, which {index} does not place there; the shards are mixed up")
                self._file_of[name] = file
        if lost := sorted(set(placed or ()) - self._file_of.keys()):
            assert placed is not None
            raise CheckpointError(
                f"{index} places {lost[0]} in {placed[lost[0]]}, which does not hold it; the shards are mixed up"
            )

    def names(self) -> list[str]:
        return list(self._file_of)

    def metadata(self) -> dict[str, dict[str, str]]:
        """What the header of each file says beside its tensors."""
        return {file: handle.metadata() or {} for file, handle in self._handles.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._handles[self._file(name)].get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        code = self._handles[self._file(name)].get_slice(name).get_dtype()
        if code not in _DTYPES:
            raise CheckpointError(f"{name} is stored as {code}; weights must be BF16, F16 or F32")
        return _DTYPES[code]

    def get(self, name: str) -> torch.Tensor:
        """The tensor as pages of the file (private: writing to it does not reach the disk)."""
        file = self._file(name)
        try:
            tensor = self._handles[file].get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise CheckpointError(f"{self._folder / file} cannot be read at {name}: {_first_line(error)}") from None
        assert isinstance(tensor, torch.Tensor)
        return tensor

    def close(self) -> None:
        self._handles.clear()

    def _file(self, name: str) -> str:
        if name not in self._file_of:
            raise CheckpointError(f"the weights lack {name}; the download is incomplete, or this is another architecture")
        return self._file_of[name]


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({_first_line(error)}); fetch it again") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_index(folder: Path, index: str, ignored: str) -> dict[str, str]:
    """Tensor name -> file name, from an index whose file names are plain names in the same folder."""
    try:
        weight_map = parse_object((folder / index).read_text(encoding="utf-8"), str(folder / index)).get("weight_map")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / index} cannot be read: {_first_line(error)}") from None
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / index} has no weight_map; fetch it again")
    for name, file in weight_map.items():
        # A name with a separator could make a downloaded index point anywhere on the reader's disk.
        if not isinstance(file, str) or PurePosixPath(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise CheckpointError(f"{folder / index} places {name} in {file!r}, which is no .safetensors file of this folder")
    return {name: file for name, file in weight_map.items() if not re.fullmatch(ignored, name)}

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mistral7b.checkpoint.consolidated import ConsolidatedSource
from mistral7b.checkpoint.source import check, expected_shapes
from mistral7b.errors import CheckpointError
from tests.checkpoint import made


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("mapped", [True, False])
def test_reads_back_what_was_written(tmp_path: Path, dtype: torch.dtype, mapped: bool) -> None:
    whole = made.weights(dtype=dtype)
    with ConsolidatedSource(made.consolidated(tmp_path, whole), mapped=mapped) as source:
        assert source.names() == list(expected_shapes(made.SMALL))
        check(source, made.SMALL)
        assert all(source.dtype(name) == dtype for name in source.names())
        assert all(torch.equal(source.get(name), tensor) for name, tensor in whole.items())


def test_writing_to_a_mapped_tensor_does_not_reach_the_disk(tmp_path: Path) -> None:
    folder = made.consolidated(tmp_path, made.weights())
    before = (folder / "consolidated.safetensors").read_bytes()
    with ConsolidatedSource(folder) as source:
        source.get("norm.weight").zero_()
    assert (folder / "consolidated.safetensors").read_bytes() == before


def test_shards_with_an_index(tmp_path: Path) -> None:
    whole = made.weights()
    placed = {name: f"consolidated-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(whole)}
    for file in set(placed.values()):
        save_file({name: whole[name] for name in whole if placed[name] == file}, tmp_path / file)
    (tmp_path / "consolidated.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    with ConsolidatedSource(tmp_path) as source:
        check(source, made.SMALL)
        assert torch.equal(source.get("output.weight"), whole["output.weight"])


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has neither"):
        ConsolidatedSource(tmp_path)
    made.consolidated(tmp_path, made.weights())
    with ConsolidatedSource(tmp_path) as source, pytest.raises(CheckpointError, match="lack nowhere"):
        source.get("nowhere")
    (tmp_path / "consolidated.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        ConsolidatedSource(tmp_path)

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from mistral7b.checkpoint.hashes import tensor_hashes
from mistral7b.checkpoint.hf import HfSource
from mistral7b.checkpoint.write import Row, write_safetensors, write_shards
from tests.checkpoint import made


def rows(tensors: dict[str, torch.Tensor]) -> list[Row]:
    return [Row(name, tensor.dtype, tuple(tensor.shape), partial(tensors.__getitem__, name)) for name, tensor in tensors.items()]


def ignored(n_bytes: int) -> None:
    pass


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


types = st.sampled_from([torch.bfloat16, torch.float16, torch.float32])
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@given(st.lists(st.tuples(types, shapes, st.booleans()), min_size=1, max_size=5), st.integers(0, 40))
def test_the_library_reads_every_file(
    tmp_path_factory: object, looks: list[tuple[torch.dtype, list[int], bool]], name: int
) -> None:
    """Any mix of types, odd shapes, views that are not contiguous, header lengths of every remainder modulo 8."""
    tensors = {}
    for i, (dtype, shape, turned) in enumerate(looks):
        tensor = torch.randn(shape).to(dtype)
        tensors["n" * name + str(i)] = tensor.transpose(0, -1) if turned else tensor
    path = tmp_path_factory.mktemp("st") / "model.safetensors"  # type: ignore[attr-defined]
    write_safetensors(path, rows(tensors), ignored)
    assert bits(load_file(path)) == bits(tensors)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    assert length % 8 == 0
    for name_, entry in json.loads(raw[8 : 8 + length]).items():
        if name_ != "__metadata__":
            assert entry["data_offsets"][0] % tensors[name_].element_size() == 0, "aligned"


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    for file in ("a", "b"):
        write_safetensors(tmp_path / file, rows(made.weights()), ignored)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@given(st.integers(1, 60_000))
def test_shards_hold_what_the_index_says(tmp_path_factory: object, limit: int) -> None:
    folder = tmp_path_factory.mktemp("shards")  # type: ignore[attr-defined]
    tensors = made.in_hf(made.weights())
    total = sum(tensor.nbytes for tensor in tensors.values())
    told: list[int] = []
    write_shards(folder, rows(tensors), told.append, limit=limit)
    assert told == [tensor.nbytes for tensor in tensors.values()]
    with HfSource(folder, made.SMALL) as source:
        assert bits({name: source.get(name) for name in source.names()}) == bits(made.weights())
    files = sorted(folder.glob("*.safetensors"))
    if total <= limit:
        assert [file.name for file in files] == ["model.safetensors"]
        return
    assert [file.name for file in files] == [f"model-{i + 1:05d}-of-{len(files):05d}.safetensors" for i in range(len(files))]
    assert json.loads((folder / "model.safetensors.index.json").read_text())["metadata"] == {"total_size": total}
    for file in files:
        held = load_file(file)
        assert sum(tensor.nbytes for tensor in held.values()) <= limit or len(held) == 1


def test_hashes_tell_type_shape_and_bits_apart(tmp_path: Path) -> None:
    def hashes(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, str]:
        tensors = made.weights()
        tensors["norm.weight"] = change(tensors["norm.weight"])
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        with HfSource(made.hf(folder, tensors), made.SMALL) as source:
            return tensor_hashes(source)

    same, flipped, wider, folded = (
        hashes(change)
        for change in (
            lambda t: t,
            lambda t: (t.view(torch.int16) ^ torch.tensor([1] + [0] * 31, dtype=torch.int16)).view(torch.bfloat16),
            lambda t: t.float(),
            lambda t: t.view(4, 8),
        )
    )
    assert list(same) == list(made.weights())
    for other in (flipped, wider, folded):
        assert [name for name in same if same[name] != other[name]] == ["norm.weight"]

"""Folders of packed matrices: what is written is read, mapped and aligned; what is damaged is told in one line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mistral7b.checkpoint import fit
from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.checkpoint.load import load_packed, load_weights, weights_bytes
from mistral7b.checkpoint.quantized import LAYOUT, LAYOUT_KEY, QuantizedSource
from mistral7b.checkpoint.quantized_write import QuantizedWriter
from mistral7b.checkpoint.verify import verify
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError
from mistral7b.loading import load
from mistral7b.quant.formats import FormatName
from mistral7b.quant.linear import QuantLinear
from mistral7b.quant.matrix import PackedMatrix, pack
from tests.checkpoint import folders, made
from tests.quant import scalar

NAME = "quantized.safetensors"
Made = dict[str, torch.Tensor | PackedMatrix]
WQ, HEAD = "layers.0.attention.wq.weight", "output.weight"


def contents(config: ModelConfig = made.SMALL, layers: FormatName = "int4", head: FormatName | None = "int5") -> Made:
    """Random weights, the matrices packed."""
    found: Made = dict(made.weights(config))
    for seed, (name, weight) in enumerate(made.weights(config).items()):
        form = head if name == HEAD else layers
        if weight.dim() == 2 and name != "tok_embeddings.weight" and form is not None:
            found[name] = pack(form, *scalar.codes(form, weight.shape[0], weight.shape[1], seed))
    return found


def written(folder: Path, config: ModelConfig = made.SMALL, held: Made | None = None) -> Path:
    held = contents(config) if held is None else held
    folder.mkdir(exist_ok=True)
    made.write_config(folder, config)
    with QuantizedWriter(folder, config, {n: m.format for n, m in held.items() if isinstance(m, PackedMatrix)}) as writer:
        for name, value in reversed(held.items()):  # in any order
            writer.put(name, value)
    return folder


def bits(matrix: PackedMatrix) -> tuple[bytes, bytes | None]:
    return matrix.blocks.numpy().tobytes(), None if matrix.scales is None else matrix.scales.numpy().tobytes()


@pytest.mark.parametrize(("layers", "head"), [("int4", "int5"), ("int8", "int8"), ("q4_0", "q8_0"), ("int4", None)])
def test_what_is_written_is_read(tmp_path: Path, layers: FormatName, head: FormatName | None) -> None:
    held = contents(layers=layers, head=head)
    checkpoint = open_checkpoint(written(tmp_path / "m", held=held))
    assert checkpoint.format == "quantized"
    loaded = load_packed(checkpoint, dtype=torch.bfloat16)
    assert {**loaded.plain, **loaded.packed}.keys() == held.keys()
    for name, value in held.items():
        if isinstance(value, PackedMatrix):
            assert loaded.packed[name].shape == value.shape
            assert loaded.packed[name].format == value.format
            assert bits(loaded.packed[name]) == bits(value)
        else:
            assert torch.equal(loaded.plain[name], value)
    dense = load_weights(checkpoint, dtype=torch.float32)
    for name, value in held.items():
        assert torch.equal(dense[name], value.dense(torch.float32) if isinstance(value, PackedMatrix) else value.float())


def test_every_packed_tensor_begins_at_a_multiple_of_64_bytes_mapped(tmp_path: Path) -> None:
    config = replace(made.SMALL, dim=40, vocab_size=50)  # norms of 80 bytes, which nothing may stand behind
    folder = written(tmp_path / "m", config)
    with (folder / NAME).open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    assert (8 + size) % 64 == 0
    begins = {name: row["data_offsets"][0] for name, row in header.items() if name != "__metadata__"}
    assert all(start % 64 == 0 for name, start in begins.items() if name.endswith((".blocks", ".scales")))
    model = load(folder).model
    modules = [module for module in model.modules() if isinstance(module, QuantLinear)]
    assert len(modules) == 15
    assert all(module.blocks.data_ptr() % 64 == 0 for module in modules)
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert NAME in mapped.read_text()


def test_the_notes_and_the_report_say_what_it_is(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", replace(made.SMALL, dim=128, hidden_dim=256, head_dim=32))
    checkpoint = open_checkpoint(folder)
    # 32 bits a channel of 128 or 256 inputs come on top of 4.25 and 5.25
    (note,) = [note for note in checkpoint.notes if "quantised" in note]
    assert note.startswith("quantised: int4, head int5, 4.")
    assert note.endswith(" bits a weight")
    report = verify(folder)
    assert report.ok, report
    assert report.dtypes == {"bfloat16": 6, "int4": 14, "int5": 1}


def test_memory_is_counted_as_it_is_taken(tmp_path: Path) -> None:
    config = replace(made.SMALL, dim=128, hidden_dim=256, head_dim=32)
    held = contents(config)
    checkpoint = open_checkpoint(written(tmp_path / "m", config, held))
    real = sum(value.nbytes for value in held.values())
    assert weights_bytes(checkpoint, torch.bfloat16, packed=True) == real
    assert weights_bytes(checkpoint, torch.bfloat16, packed=False) == 2 * config.n_params
    seen: list[tuple[int, int]] = []
    load_packed(checkpoint, dtype=torch.bfloat16, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (real, real)
    asked = {"dtype_bytes": 2, "max_model_len": 64, "n_sequences": 1, "page_tokens": 16, "chunk": 16}
    whole = fit.estimate(config, available=0, weights_bytes=real, **asked)  # type: ignore[arg-type]
    assert whole.weights_bytes == real
    assert fit.advise(config, available=whole.needed_bytes, weights_bytes=real, **asked) is None  # type: ignore[arg-type]
    assert "needs" in str(fit.advise(config, available=whole.needed_bytes - 1, weights_bytes=real, **asked))  # type: ignore[arg-type]


def test_an_explicit_dtype_decodes(tmp_path: Path) -> None:
    folder = written(tmp_path / "m")
    packed, dense = load(folder).model, load(folder, dtype="bfloat16").model
    assert any(isinstance(module, QuantLinear) for module in packed.modules())
    assert not any(isinstance(module, QuantLinear) for module in dense.modules())
    assert packed.dtype == dense.dtype == torch.bfloat16


def test_shards_with_an_index_are_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "m")
    expected = folders.hashes(folder)
    tensors = folders.load(folder / NAME)
    (folder / NAME).unlink()
    placed = {name: f"quantized-{i % 2 + 1:05}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(placed.values()):
        save_file({name: tensors[name] for name in placed if placed[name] == file}, folder / file, {LAYOUT_KEY: LAYOUT})
    (folder / f"{NAME}.index.json").write_text(json.dumps({"weight_map": placed}))
    assert folders.hashes(folder) == expected


Damage = Callable[[dict[str, torch.Tensor]], None]


def _swap(name: str, tensor: torch.Tensor) -> Damage:
    return lambda held: held.update({name: tensor})


def _drop(*names: str) -> Damage:
    def harm(held: dict[str, torch.Tensor]) -> None:
        for name in names:
            del held[name]

    return harm


DAMAGED: dict[str, tuple[Damage, str]] = {
    "no blocks": (_drop(f"{WQ}.blocks", f"{WQ}.scales"), f"lack {WQ}"),
    "no scales": (_drop(f"{WQ}.scales"), f"{WQ} is packed as int4 but its channel scales are missing"),
    "scales of another kind": (
        _swap(f"{WQ}.scales", torch.zeros(32, dtype=torch.bfloat16)),
        "channel scales are missing or of anot",
    ),
    "scales too short": (_swap(f"{WQ}.scales", torch.zeros(16)), "channel scales are missing or of another kind"),
    "a strange block": (
        _swap(f"{WQ}.blocks", torch.zeros(2, 1, 1000, dtype=torch.uint8)),
        f"{WQ} has blocks [2, 1, 1000], no packing",
    ),
    "too few blocks": (_swap(f"{WQ}.blocks", torch.zeros(1, 1, 1088, dtype=torch.uint8)), "no packing of the [32, 32]"),
    "blocks of another type": (_swap(f"{WQ}.blocks", torch.zeros(2, 1, 1088, dtype=torch.float16)), "no packing of the"),
    "a scalar": (_swap(f"{WQ}.blocks", torch.tensor(1, dtype=torch.uint8)), "has blocks []"),
    "a stranger": (_swap("layers.9.attention.wq.weight.blocks", torch.zeros(2, 1, 1088, dtype=torch.uint8)), "no place for"),
    "a packed norm": (
        _swap("norm.weight.blocks", torch.zeros(2, 1, 1088, dtype=torch.uint8)),
        "norm.weight.blocks, which the config",
    ),
    "plain bytes": (_swap("norm.weight", torch.ones(32, dtype=torch.uint8)), "norm.weight is stored as torch.uint8"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_line(tmp_path: Path, kind: str) -> None:
    harm, said = DAMAGED[kind]
    folder = written(tmp_path / "m")
    held = folders.load(folder / NAME)
    harm(held)
    save_file(held, folder / NAME, {LAYOUT_KEY: LAYOUT})
    with pytest.raises(CheckpointError) as caught, open_source(open_checkpoint(folder)):
        pass
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not verify(folder).ok


def test_another_layout_and_a_file_cut_short(tmp_path: Path) -> None:
    folder = written(tmp_path / "m")
    held = folders.load(folder / NAME)
    save_file(held, folder / NAME, {LAYOUT_KEY: "1"})
    with pytest.raises(CheckpointError, match="packed in layout '1', this program reads '2'"):
        open_checkpoint(folder)
    save_file(held, folder / NAME)
    with pytest.raises(CheckpointError, match="packed in layout None"):
        open_checkpoint(folder)
    written(folder)
    (folder / NAME).write_bytes((folder / NAME).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        open_checkpoint(folder)
    with pytest.raises(CheckpointError, match="has neither"):
        QuantizedSource(tmp_path, made.SMALL)


def test_scales_that_are_not_finite_are_found(tmp_path: Path) -> None:
    folder = written(tmp_path / "m")
    held = folders.load(folder / NAME)
    held[f"{WQ}.scales"][3] = float("nan")
    save_file(held, folder / NAME, {LAYOUT_KEY: LAYOUT})
    (check,) = [check for check in verify(folder).checks if check.name == "finite"]
    assert check.status == "fail"
    assert check.detail.startswith(f"{WQ} holds")


def test_an_original_beside_it_is_preferred(tmp_path: Path) -> None:
    folder = made.hf(written(tmp_path / "m"), made.weights())
    checkpoint = open_checkpoint(folder)
    assert checkpoint.format == "hf"
    assert any("quantized.safetensors is not" in note for note in checkpoint.notes)

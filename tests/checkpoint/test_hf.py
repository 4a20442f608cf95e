from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mistral7b.checkpoint.hf import HfSource, consolidated_name, hf_name
from mistral7b.checkpoint.source import check, expected_shapes
from mistral7b.errors import CheckpointError, Mistral7BError
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.variants import V03
from tests.checkpoint import made

LAST = "model-00003-of-00003.safetensors"


@pytest.mark.parametrize("write", [made.hf, made.hf_sharded])
@pytest.mark.parametrize("mapped", [True, False])
def test_reads_back_what_was_written(tmp_path: Path, write: Callable[..., Path], mapped: bool) -> None:
    whole = made.weights()
    with HfSource(write(tmp_path, whole), made.SMALL, mapped=mapped) as source:
        assert source.names() == list(expected_shapes(made.SMALL))
        check(source, made.SMALL)
        read = {name: source.get(name) for name in source.names()}
    for name, tensor in whole.items():  # after close: tensors outlive their source
        assert torch.equal(read[name].view(torch.int16), tensor.view(torch.int16)), name


def test_names_map_one_to_one() -> None:
    names = list(expected_shapes(V03))
    theirs = [hf_name(name) for name in names]
    assert len(set(theirs)) == len(names) == 291
    assert [consolidated_name(name) for name in theirs] == names
    assert hf_name("layers.3.feed_forward.w2.weight") == "model.layers.3.mlp.down_proj.weight"
    for stranger in ("model.layers.0.self_attn.q_proj.bias", "model.layers.00.mlp.up_proj.weight", "lm_head.bias", "", "layers"):
        with pytest.raises(CheckpointError):
            consolidated_name(stranger)
        with pytest.raises(CheckpointError):
            hf_name(stranger)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_transformers_computes_the_same_from_its_own_folder(tmp_path: Path, kv_heads: int) -> None:
    """The permutation, proven by logits: transformers writes a folder, we read it, both compute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own imports
        from transformers import MistralConfig, MistralForCausalLM
    config = replace(made.SMALL, n_kv_heads=kv_heads, sliding_window=5)
    torch.manual_seed(1)
    theirs = MistralForCausalLM(MistralConfig(**config.to_hf(max_position_embeddings=64, dtype="float32"))).eval()
    for name, parameter in theirs.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    with torch.device("meta"):
        ours = Transformer(config)
    with HfSource(tmp_path, config) as source:
        check(source, config)
        ours.load_state_dict({name: source.get(name) for name in source.names()}, assign=True)
    ids = torch.randint(0, config.vocab_size, (24,), generator=torch.Generator().manual_seed(2)).tolist()
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0]
        assert torch.allclose(ours(TokenBatch.pack([Span(ids, logits="all")])), expected, atol=1e-4, rtol=0)
        assert expected.abs().max() > 0.5


def _extra(folder: Path, name: str) -> None:
    """One more tensor in the last shard, and in the index."""
    save_file(load_file(folder / LAST) | {name: torch.ones(3)}, folder / LAST)
    made.write_index(folder, made.read_index(folder) | {name: LAST})


def test_saved_frequencies_are_passed_over(tmp_path: Path) -> None:
    made.hf_sharded(tmp_path, made.weights())
    _extra(tmp_path, "model.layers.0.self_attn.rotary_emb.inv_freq")
    with HfSource(tmp_path, made.SMALL) as source:
        check(source, made.SMALL)


def _truncate(folder: Path) -> None:
    (folder / LAST).write_bytes((folder / LAST).read_bytes()[:-7])


def _flip(folder: Path) -> None:
    data = bytearray((folder / LAST).read_bytes())
    data[9] ^= 0x40
    (folder / LAST).write_bytes(data)


def _forget(folder: Path) -> None:
    first, *_ = made.read_index(folder)
    made.write_index(folder, {name: LAST if name == first else file for name, file in made.read_index(folder).items()})


def _quantised(folder: Path) -> None:
    save_file({name: t.to(torch.int8) for name, t in load_file(folder / LAST).items()}, folder / LAST)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (lambda f: (f / LAST).unlink(), LAST),
    "truncated": (_truncate, f"{LAST} is truncated or damaged"),
    "empty": (lambda f: (f / LAST).write_bytes(b""), f"{LAST} is truncated or damaged"),
    "flipped header bit": (_flip, f"{LAST} is truncated or damaged"),
    "index against shard": (_forget, "mixed up"),
    "index lists what no shard has": (
        lambda f: made.write_index(f, made.read_index(f) | {"model.layers.9.mlp.up_proj.weight": LAST}),
        "does not hold it",
    ),
    "stranger": (lambda f: _extra(f, "model.layers.0.self_attn.q_proj.bias"), "self_attn.q_proj.bias, which a Mistral 7B"),
    "quantised": (_quantised, "stored as I8"),
    "no index": (lambda f: (f / "model.safetensors.index.json").unlink(), "has neither model.safetensors nor"),
    "index is no JSON": (lambda f: (f / "model.safetensors.index.json").write_text("{"), "not valid JSON"),
    "index is not text": (lambda f: (f / "model.safetensors.index.json").write_bytes(b"\xff\xfe"), "cannot be read"),
    "index is empty": (lambda f: made.write_index(f, {}), "no weight_map"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line(tmp_path: Path, fault: str) -> None:
    made.hf_sharded(tmp_path, made.weights())
    spoil, words = FAULTS[fault]
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=words) as caught, HfSource(tmp_path, made.SMALL) as source:
        check(source, made.SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["../out.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "..", "", "x.bin", 3, None])
def test_an_index_cannot_point_elsewhere(tmp_path: Path, file: object) -> None:
    made.hf_sharded(tmp_path, made.weights())
    save_file({"lm_head.weight": torch.ones(64, 32)}, tmp_path.parent / "out.safetensors")
    index = {"weight_map": made.read_index(tmp_path) | {"lm_head.weight": file}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"no .safetensors file of this folder"):
        HfSource(tmp_path, made.SMALL)


def test_a_pickle_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        HfSource(tmp_path, made.SMALL)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_reads_or_says_so(tmp_path_factory: pytest.TempPathFactory, position: int, bit: int) -> None:
    """Wherever the bit falls: either an error of ours or a folder that opens; never a traceback."""
    folder = made.hf(tmp_path_factory.mktemp("flip"), made.weights())
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[position % len(data)] ^= 1 << bit
    (folder / "model.safetensors").write_bytes(data)
    line = ""
    try:
        with HfSource(folder, made.SMALL) as source:
            check(source, made.SMALL)
            for name in source.names():
                source.get(name)
    except Mistral7BError as error:
        line = str(error)
    assert "\n" not in line

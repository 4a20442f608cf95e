from __future__ import annotations

import json
import warnings
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from mistral7b.checkpoint.convert import convert
from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.checkpoint.gguf import to_gguf_name
from mistral7b.checkpoint.hf import HfSource
from mistral7b.config import ModelConfig
from mistral7b.errors import MismatchError
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import V01
from tests.checkpoint import made, made_gguf
from tests.checkpoint.folders import bits, folder, hashes, load, names
from tests.checkpoint.test_gguf_tokenizer import V3_CONTROLS, own


@pytest.mark.parametrize("kv_heads", [4, 2, 1], ids=["gqa1", "gqa2", "gqa4"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_hf_to_consolidated_to_hf_is_bit_for_bit(tmp_path: Path, kv_heads: int, dtype: torch.dtype) -> None:
    config = replace(made.SMALL, n_kv_heads=kv_heads)
    weights = made.weights(config, dtype)
    weights["layers.0.attention.wq.weight"].view(-1)[:3] = torch.tensor([float("nan"), float("-inf"), -0.0])
    first = made.hf_sharded(folder(tmp_path, "first"), weights, config)
    assert names(tmp_path / "first") != []
    middle, last = tmp_path / "middle", tmp_path / "last"
    written = convert(first, middle, to="consolidated")
    assert [path.name for path in written] == ["consolidated.safetensors", "mistral7b.json", "params.json"]
    convert(middle, last, to="hf")
    assert hashes(first) == hashes(middle) == hashes(last)
    assert len(hashes(last)) == 21
    assert open_checkpoint(last).config == open_checkpoint(middle).config == config
    # The files themselves, not only what our readers make of them.
    stored = {name: tensor for file in first.glob("*.safetensors") for name, tensor in load(file).items()}
    assert bits(load(last / "model.safetensors")) == bits(stored)


@pytest.mark.parametrize("make", [made.pth, made.consolidated, made.hf, made.hf_sharded])
@pytest.mark.parametrize("to", ["hf", "consolidated"])
def test_every_folder_format_goes_to_every_other(tmp_path: Path, make: Callable[..., Path], to: Any) -> None:
    first = make(folder(tmp_path, "first"), made.weights())
    convert(first, tmp_path / "second", to=to)
    assert hashes(tmp_path / "second") == hashes(first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gguf_and_back_is_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = made.weights(dtype=dtype)
    first = made.hf(folder(tmp_path, "first"), weights)
    assert convert(first, tmp_path / "m.gguf", to="gguf") == [tmp_path / "m.gguf"]
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    assert (checkpoint.config, checkpoint.max_positions) == (made.SMALL, 512)
    with open_source(checkpoint) as source:
        for name, tensor in weights.items():
            assert source.dtype(name) == (torch.float32 if tensor.dim() == 1 else dtype)
            assert torch.equal(source.get(name).to(dtype).view(torch.uint8), tensor.view(torch.uint8)), name
    short: Any = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "f32"}[dtype]
    convert(tmp_path / "m.gguf", tmp_path / "back", to="hf", dtype=short)
    assert hashes(tmp_path / "back") == hashes(first)
    assert bits(load(tmp_path / "back" / "model.safetensors")) == bits(made.in_hf(weights))


def test_a_quantised_file_comes_out_as_float32(tmp_path: Path) -> None:
    config = replace(made_gguf.BIG_ROWS, sliding_window=None)
    tensors: dict[str, Any] = {}
    for name, tensor in made.weights(config, torch.float32).items():
        raw = tensor.numpy()
        tensors[to_gguf_name(name)] = raw if raw.ndim == 1 else gguf.quants.quantize(raw, made_gguf.Type.Q8_0)
    kinds = {name: made_gguf.Type.Q8_0 for name, tensor in tensors.items() if tensor.ndim == 2}
    path = made_gguf.write(tmp_path / "q.gguf", tensors, made_gguf.metadata(config), kinds=kinds)
    convert(path, tmp_path / "out", to="consolidated")
    assert hashes(tmp_path / "out") == hashes(path)
    loaded = load(tmp_path / "out" / "consolidated.safetensors")
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert torch.allclose(loaded["output.weight"], made.weights(config, torch.float32)["output.weight"], atol=2e-3)


def test_transformers_reads_our_gguf_as_it_reads_the_hf_folder(tmp_path: Path) -> None:
    """A reader that is not ours undoes llama.cpp's row order and finds the HF rows: names, order and config are right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own imports
        from transformers import LlamaConfig, LlamaForCausalLM
        from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    first = made.hf(folder(tmp_path, "first"), made.weights(dtype=torch.float32))
    convert(first, tmp_path / "m.gguf", to="gguf")
    config = made.SMALL.to_hf(max_position_embeddings=512, dtype="float32") | {"model_type": "llama"}
    model = LlamaForCausalLM(LlamaConfig(**config))
    read = load_gguf_checkpoint(  # type: ignore[no-untyped-call]
        str(tmp_path / "m.gguf"), return_tensors=True, model_to_load=model
    )
    found, expected = read["tensors"], load(first / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert read["config"]["num_key_value_heads"] == 2


@pytest.mark.parametrize("window", [16, None])
def test_gguf_metadata_is_what_llama_cpp_writes(tmp_path: Path, window: int | None) -> None:
    config = with_tokenizer(tmp_path, "first", window)
    (tmp_path / "first" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (tmp_path / "first" / "mistral7b.json").write_text(json.dumps({"trained_context": 64}))
    convert(tmp_path / "first", tmp_path / "m.gguf", to="gguf")
    fields = {key: field.contents() for key, field in gguf.GGUFReader(tmp_path / "m.gguf").fields.items()}
    expected = {
        "general.architecture": "llama", "general.name": "first", "general.file_type": 32, "general.quantization_version": 2,
        "llama.block_count": 2, "llama.embedding_length": 32, "llama.feed_forward_length": 48, "llama.context_length": 512,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 10_000.0, "llama.vocab_size": config.vocab_size, "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False, "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.chat_template": "{{ messages }}",
    }  # fmt: skip
    assert {key: fields.get(key) for key in expected} == expected
    assert fields.get("llama.attention.sliding_window") == window
    assert fields["tokenizer.ggml.tokens"] == [piece.text for piece in own(V3_CONTROLS)]
    assert fields["tokenizer.ggml.scores"] == [piece.score for piece in own(V3_CONTROLS)]
    assert fields["tokenizer.ggml.token_type"] == [piece.type for piece in own(V3_CONTROLS)]
    assert open_checkpoint(tmp_path / "m.gguf").trained_context == 64


def with_tokenizer(tmp_path: Path, name: str, window: int | None = 16) -> ModelConfig:
    """A folder with a small v3 tokenizer of its own."""
    from mistral7b.checkpoint.spm import SpmModel, encode

    pieces = tuple(own(V3_CONTROLS))
    config = replace(made.SMALL, vocab_size=len(pieces), sliding_window=window)
    first = made.hf(folder(tmp_path, name), made.weights(config), config)
    (first / "tokenizer.model.v3").write_bytes(encode(SpmModel(pieces, True, False)))
    return config


def test_an_own_tokenizer_travels_through_a_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with_tokenizer(tmp_path, "first")
    (tmp_path / "first" / "mistral7b.json").write_text(json.dumps({"trained_context": 64}))
    convert(tmp_path / "first", tmp_path / "m.gguf", to="gguf")
    convert(tmp_path / "m.gguf", tmp_path / "last", to="consolidated")
    assert names(tmp_path / "last") == ["consolidated.safetensors", "mistral7b.json", "params.json", "tokenizer.model.v3"]
    assert open_checkpoint(tmp_path / "last").trained_context == 64
    text = "[INST] the moon 🙂"
    ids = [Tokenizer.load(tmp_path / name / "tokenizer.model.v3").encode(text) for name in ("first", "last")]
    assert ids[0] == ids[1]


def test_a_tokenizer_of_another_model_does_not_get_into_a_gguf(tmp_path: Path) -> None:
    first = made.hf(folder(tmp_path, "first"), made.weights())
    (first / "tokenizer.model").write_bytes(Tokenizer.published("v1").path.read_bytes())
    with pytest.raises(MismatchError, match="32,000 ids"):
        convert(first, tmp_path / "m.gguf", to="gguf")
    assert names(tmp_path) == ["first"]


def test_companions_go_along_and_other_files_do_not(tmp_path: Path) -> None:
    first = made.consolidated(folder(tmp_path, "first"), made.weights())
    kept = ["tokenizer.model.v3", "tokenizer.json", "generation_config.json", "LICENSE", "README.md", "chat_template.jinja"]
    for name in [*kept, "notes.txt", "optimizer.pt"]:
        (first / name).write_text(json.dumps({"file": name}))
    convert(first, tmp_path / "second", to="hf")
    assert names(tmp_path / "second") == sorted([*kept, "config.json", "model.safetensors"])
    assert all(json.loads((tmp_path / "second" / name).read_text()) == {"file": name} for name in kept)


def test_progress_counts_every_byte_once(tmp_path: Path) -> None:
    first = made.hf(folder(tmp_path, "first"), made.weights())
    total = sum(tensor.nbytes for tensor in made.weights().values())
    for to in ("consolidated", "hf"):
        told: list[tuple[int, int]] = []
        convert(first, tmp_path / to, to=to, progress=lambda done, whole, told=told: told.append((done, whole)))  # type: ignore[misc]
        assert [done for done, _ in told] == sorted({done for done, _ in told})
        assert told[-1] == (total, total)


@pytest.mark.parametrize("to", ["hf", "consolidated", "gguf"])
def test_one_tensor_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    plain_get = HfSource.get

    def get(self: HfSource, name: str) -> torch.Tensor:
        assert not [ref for ref in alive if ref() is not None]
        tensor = plain_get(self, name)
        alive.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(HfSource, "get", get)
    convert(made.hf(folder(tmp_path, "first"), made.weights()), tmp_path / "m.gguf", to=to)
    assert len(alive) == 21


def test_the_published_window_and_theta_survive_every_format(tmp_path: Path) -> None:
    """v0.1's numbers at a small size: nothing of the config is lost or rounded on the way round."""
    config = replace(made.SMALL, norm_eps=V01.norm_eps, rope_theta=1_000_000.0, sliding_window=4096)
    at = made.hf(folder(tmp_path, "first"), made.weights(config), config)
    for step, (to, name) in enumerate([("gguf", "a.gguf"), ("consolidated", "b"), ("gguf", "c.gguf"), ("hf", "d")]):
        convert(at, tmp_path / name, to=to, dtype="bf16")  # type: ignore[arg-type]
        at = tmp_path / name
        assert open_checkpoint(at).config == config, step
    assert hashes(at) == hashes(tmp_path / "first")


def test_an_own_models_contexts_survive_the_way_through_consolidated(tmp_path: Path) -> None:
    start = made.hf(folder(tmp_path, "start"), made.weights())
    convert(start, tmp_path / "middle", to="consolidated")
    convert(tmp_path / "middle", tmp_path / "end", to="hf")
    assert open_checkpoint(start).max_positions == 512
    assert [open_checkpoint(tmp_path / step).max_positions for step in ("middle", "end")] == [512, 512]


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_an_end_of_text_of_its_own_is_kept(tmp_path: Path, to: Any) -> None:
    start = made.hf(folder(tmp_path, "start"), made.weights())
    made.write_config(start, eos_token_id=7)
    target = tmp_path / ("end.gguf" if to == "gguf" else "end")
    convert(start, target, to=to)
    assert open_checkpoint(start).eos_ids == (7,)
    assert open_checkpoint(target).eos_ids == ((7,) if to == "hf" else (2,))  # without a tokenizer a GGUF names no ids

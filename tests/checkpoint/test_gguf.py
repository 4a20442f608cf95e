from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.checkpoint.gguf import GgufSource, from_gguf_name, open_gguf, to_gguf_name
from mistral7b.checkpoint.source import check, expected_shapes
from mistral7b.errors import CheckpointError, ConfigError, MismatchError
from mistral7b.variants import V03
from tests.checkpoint import made, made_gguf
from tests.checkpoint.made_gguf import Type

f32 = np.float32


def half(raw: bytes) -> np.float32:
    return f32(np.frombuffer(raw, np.float16)[0])


# One block each, a weight at a time, after the C structs and their comments in ggml-common.h.


def q8_0(block: bytes) -> list[np.float32]:
    return [half(block[:2]) * f32(q) for q in np.frombuffer(block[2:], np.int8)]


def q4_0(block: bytes) -> list[np.float32]:
    nibbles = [q & 15 for q in block[2:]] + [q >> 4 for q in block[2:]]
    return [half(block[:2]) * f32(q - 8) for q in nibbles]


def q4_k(block: bytes) -> list[np.float32]:
    d, d_min, packed, quants = half(block[:2]), half(block[2:4]), block[4:16], block[16:]
    out = []
    for part in range(8):  # 32 weights each: a 6-bit scale and a 6-bit minimum
        if part < 4:
            scale, low = packed[part] & 63, packed[part + 4] & 63
        else:
            scale = packed[part + 4] & 15 | packed[part - 4] >> 6 << 4
            low = packed[part + 4] >> 4 | packed[part] >> 6 << 4
        for byte in quants[part // 2 * 32 :][:32]:
            quant = byte >> 4 if part % 2 else byte & 15
            out.append(d * f32(scale) * f32(quant) - d_min * f32(low))
    return out


def q6_k(block: bytes) -> list[np.float32]:
    low, high, scales, d = block[:128], block[128:192], np.frombuffer(block[192:208], np.int8), half(block[208:])
    out = []
    for i in range(256):
        side, quarter, at = i // 128, i % 128 // 32, i % 32
        nibble = low[side * 64 + quarter % 2 * 32 + at] >> 4 * (quarter // 2) & 15
        quant = nibble | (high[side * 32 + at] >> 2 * quarter & 3) << 4
        out.append(d * f32(scales[i // 16]) * f32(quant - 32))
    return out


DECODERS: dict[Type, tuple[Callable[[bytes], list[np.float32]], int, tuple[int, ...]]] = {
    Type.Q8_0: (q8_0, 34, (0,)),
    Type.Q4_0: (q4_0, 18, (0,)),
    Type.Q4_K: (q4_k, 144, (0, 2)),
    Type.Q6_K: (q6_k, 210, (208,)),
}  # (one block decoded, its bytes, where its fp16 scales stand)


@pytest.mark.parametrize("kind", DECODERS, ids=lambda kind: kind.name)
def test_quantised_tensors_equal_a_scalar_decoder(tmp_path: Path, kind: Type) -> None:
    config = replace(made_gguf.BIG_ROWS, vocab_size=515)  # more rows than are decoded at once
    decode, size, scales = DECODERS[kind]
    rng = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for name, shape in expected_shapes(config).items():
        if len(shape) == 1:
            tensors[to_gguf_name(name)] = np.ones(shape, f32)
            continue
        blocks = rng.integers(0, 256, (shape[0], shape[1] // (256 if size > 100 else 32), size), np.uint8)
        for at in scales:
            blocks[..., at : at + 2] = rng.normal(size=(*blocks.shape[:2], 1)).astype(np.float16).view(np.uint8)
        tensors[to_gguf_name(name)] = blocks.reshape(shape[0], -1)
    kinds = {name: kind for name, tensor in tensors.items() if tensor.dtype == np.uint8}
    path = made_gguf.write(tmp_path / "q.gguf", tensors, made_gguf.metadata(config), kinds=kinds)
    with GgufSource(path) as source:
        check(source, config)
        for name in ("tok_embeddings.weight", "layers.1.attention.wk.weight"):
            assert source.dtype(name) == torch.float32
            raw = tensors[to_gguf_name(name)]
            rows = [0, 1, len(raw) - 1]
            expected = [
                [x for at in range(0, raw.shape[1], size) for x in decode(raw[row, at : at + size].tobytes())] for row in rows
            ]
            assert torch.equal(source.get(name)[rows], torch.tensor(np.array(expected)))


@pytest.mark.parametrize("mapped", [True, False])
def test_stored_types_come_back_bit_for_bit(tmp_path: Path, mapped: bool) -> None:
    whole = made.weights()
    whole["layers.0.feed_forward.w1.weight"] = whole["layers.0.feed_forward.w1.weight"].half()
    tensors = {
        to_gguf_name(name): t if t.dtype == torch.bfloat16 and t.dim() == 2 else (t.float() if t.dim() == 1 else t).numpy()
        for name, t in whole.items()
    }
    path = made_gguf.write(tmp_path / "m.gguf", tensors, made_gguf.metadata())
    with GgufSource(path, mapped=mapped) as source:
        assert source.names() == list(expected_shapes(made.SMALL))
        check(source, made.SMALL)
        read = {name: source.get(name) for name in source.names()}
        assert {name: source.dtype(name) for name in read} == {name: tensor.dtype for name, tensor in read.items()}
    for name, tensor in whole.items():  # after close: tensors outlive their source
        assert read[name].dtype == (torch.float32 if tensor.dim() == 1 else tensor.dtype)
        assert torch.equal(read[name].to(tensor.dtype), tensor), name
    read["output.weight"].zero_()
    with GgufSource(path) as source:
        assert source.get("output.weight").any(), "a mapped tensor must not write through to the file"


def test_rows_stand_as_llama_cpp_reorders_the_hf_ones(tmp_path: Path) -> None:
    """Its converter, stated independently: a head's rows as [2, head_dim / 2], swapped."""
    whole = made.weights()
    theirs = dict(zip(whole, made.in_hf(whole).values(), strict=True))
    for name, tensor in theirs.items():
        for matrix, heads in (("wq", 4), ("wk", 2)):
            if matrix in name:
                rows = tensor.float().numpy().reshape(heads, 2, made.SMALL.head_dim // 2, made.SMALL.dim)
                theirs[name] = torch.from_numpy(rows.swapaxes(1, 2).reshape(tensor.shape).copy()).bfloat16()
    path = made_gguf.write(tmp_path / "m.gguf", {to_gguf_name(k): v for k, v in theirs.items()}, made_gguf.metadata())
    with GgufSource(path) as source:
        for name, tensor in whole.items():
            assert torch.equal(source.get(name), tensor), name


def test_names_map_one_to_one() -> None:
    names = list(expected_shapes(V03))
    theirs = [to_gguf_name(name) for name in names]
    assert len(set(theirs)) == 291
    assert [from_gguf_name(name) for name in theirs] == names
    assert to_gguf_name("layers.3.feed_forward.w2.weight") == "blk.3.ffn_down.weight"
    for stranger in ("rope_freqs.weight", "blk.0.attn_q.bias", "blk.00.attn_q.weight", "output", "blk.0.ffn_gate_inp.weight"):
        assert from_gguf_name(stranger) is None


def test_opens_as_a_checkpoint(tmp_path: Path) -> None:
    keys = made_gguf.metadata() | {"general.name": "mine", "llama.attention.sliding_window": 16}
    checkpoint = open_checkpoint(made_gguf.small(tmp_path / "m.gguf", keys))
    assert (checkpoint.format, checkpoint.config, checkpoint.variant) == ("gguf", made.SMALL, None)
    assert (checkpoint.max_positions, checkpoint.tokenizer) == (512, None)
    assert any("16 BF16, 5 F32" in note for note in checkpoint.notes)
    assert open_checkpoint(tmp_path) == checkpoint, "a folder with one .gguf file is that file"
    with open_source(checkpoint) as source:
        assert torch.equal(source.get("output.weight"), made.weights()["output.weight"])


QUERY = "blk.0.attn_q.weight"
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"arch": "falcon"}, "another architecture 'falcon'"),
    "stranger": ({"extra": {"rope_freqs.weight": np.ones(4, f32)}}, "'rope_freqs.weight'"),
    "type": ({"extra": {QUERY: np.zeros((32, 18), np.uint8)}, "kinds": {QUERY: Type.IQ4_NL}}, "of type IQ4_NL, which cannot"),
    "tied": ({"without": "output.weight"}, "tied"),
    "headless": ({"without": "token_embd.weight"}, "token_embd.weight"),
    "missing": ({"without": "blk.1.ffn_up.weight"}, "layers.1.feed_forward.w3.weight"),
    "shape": ({"extra": {"output_norm.weight": np.ones(16, f32)}}, "norm.weight has shape [16]"),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, how: str) -> None:
    change, says = BROKEN[how]
    tensors: dict[str, Any] = {to_gguf_name(k): v for k, v in made.weights().items() if to_gguf_name(k) != change.get("without")}
    tensors |= change.get("extra", {})
    keys = made_gguf.metadata()
    path = made_gguf.write(
        tmp_path / "m.gguf", tensors, keys, arch=change.get("arch", "llama"), kinds=change.get("kinds")
    )  # fmt: skip
    with pytest.raises((CheckpointError, MismatchError)) as caught:
        open_source(open_checkpoint(path)).close()
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_shrinks_or_closes_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    path = made_gguf.small(tmp_path / "m.gguf")
    source = GgufSource(path, mapped=False)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)
    with pytest.raises(CheckpointError, match="ends inside"):
        source.get("output.weight")
    source.close()
    with pytest.raises(CheckpointError, match="cannot be read"):
        source.get("tok_embeddings.weight")
    with pytest.raises(CheckpointError, match="lacks"):
        source.shape("layers.9.attention.wq.weight")


def test_a_vanished_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as GGUF"):
        open_gguf(tmp_path / "nothing.gguf")


def test_the_tokens_that_end_a_reply(tmp_path: Path) -> None:
    assert open_gguf(made_gguf.small(tmp_path / "none.gguf")).eos_ids == (2,)
    keys = made_gguf.metadata()
    assert open_gguf(made_gguf.small(tmp_path / "own.gguf", keys | {"tokenizer.ggml.eos_token_id": 63})).eos_ids == (63,)
    for wrong in (64, "</s>"):
        path = made_gguf.small(tmp_path / "wrong.gguf", keys | {"tokenizer.ggml.eos_token_id": wrong})
        with pytest.raises(ConfigError, match="eos_token_id") as caught:
            open_gguf(path)
        assert "\n" not in str(caught.value)

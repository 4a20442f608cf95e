"""Q4_0 and Q8_0 of a GGUF stay packed when nobody asks for a type: the same numbers, as the file holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize

from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.gguf import to_gguf_name
from mistral7b.checkpoint.load import load_packed, load_weights, weights_bytes
from mistral7b.loading import load
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.quant.linear import QuantLinear
from tests.checkpoint import made, made_gguf
from tests.checkpoint.made_gguf import Type

CONFIG = replace(made.SMALL, dim=64, hidden_dim=96, head_dim=16)


def mixed(path: Path, kind: Type) -> Path:
    """Matrices of one kind, the embeddings among them; the head in the other kind, one matrix in F16, norms in F32."""
    other = Type.Q8_0 if kind == Type.Q4_0 else Type.Q4_0
    tensors, kinds = {}, {}
    for name, weight in made.weights(CONFIG, torch.float32).items():
        theirs = to_gguf_name(name)
        if weight.dim() == 1:
            tensors[theirs] = weight.numpy()
        elif name == "layers.1.attention.wo.weight":
            tensors[theirs] = weight.half().numpy()
        else:
            kinds[theirs] = other if name == "output.weight" else kind
            tensors[theirs] = quantize(weight.numpy(), kinds[theirs])
    return made_gguf.write(path, tensors, made_gguf.metadata(CONFIG), kinds=kinds)


@pytest.mark.parametrize(("kind", "layers", "head"), [(Type.Q4_0, "q4_0", "q8_0"), (Type.Q8_0, "q8_0", "q4_0")])
def test_matrices_stay_packed_and_equal_their_decoding(tmp_path: Path, kind: Type, layers: str, head: str) -> None:
    checkpoint = open_checkpoint(mixed(tmp_path / "m.gguf", kind))
    loaded, dense = load_packed(checkpoint, dtype=torch.bfloat16), load_weights(checkpoint, dtype=torch.float32)
    assert {"tok_embeddings.weight", "norm.weight", "layers.1.attention.wo.weight"} < loaded.plain.keys()
    assert len(loaded.packed) == 14
    assert loaded.packed["output.weight"].format == head
    for name, matrix in loaded.packed.items():
        assert name == "output.weight" or matrix.format == layers
        assert torch.equal(matrix.dense(torch.float32), dense[name]), name
    for name, tensor in loaded.plain.items():
        assert torch.equal(tensor, dense[name].bfloat16()), name
    taken = sum(t.nbytes for t in loaded.plain.values()) + sum(m.nbytes for m in loaded.packed.values())
    assert weights_bytes(checkpoint, torch.bfloat16, packed=True) == taken


def test_auto_is_packed_and_gives_the_logits_of_the_decoded_model(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m.gguf", Type.Q4_0)
    packed, dense = load(path, kernels="torch").model, load(path, dtype="bfloat16", kernels="torch").model
    assert isinstance(packed.layers[0].attention.wq, QuantLinear)
    assert not isinstance(packed.layers[1].attention.wo, QuantLinear)
    assert not any(isinstance(module, QuantLinear) for module in dense.modules())
    batch = TokenBatch.pack([Span([1, 5, 9, 2, 40], 0, None, "all")])
    with torch.inference_mode():
        assert torch.equal(packed(batch), dense(batch))


def test_scales_come_through_bit_for_bit(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m.gguf", Type.Q4_0)
    (theirs,) = [t for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.ffn_down.weight"]
    held = np.array(theirs.data).reshape(CONFIG.dim, -1, 18)[..., :2].copy().view(np.uint16)[..., 0]
    _, scales, _ = load_packed(open_checkpoint(path), dtype=torch.bfloat16).packed["layers.0.feed_forward.w2.weight"].codes()
    assert scales is not None
    assert np.array_equal(scales.contiguous().numpy().view(np.uint16), held)

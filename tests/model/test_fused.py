"""All layers in one call: the bits of their single steps, whatever the weights are stored as."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral7b.kernels.native_room import NativeKernels, instruction_sets
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.fused import FusedLayers, fuse
from mistral7b.model.transformer import Transformer
from mistral7b.quant.formats import FormatName
from mistral7b.quant.linear import insert
from mistral7b.quant.nearest import nearest
from tests.equivalence.crowd import Crowd
from tests.equivalence.networks import network, random_ids, small

pytestmark = pytest.mark.skipif(
    not instruction_sets(), reason="built without a C++ compiler: there are no native kernels to test"
)
CONFIG = small(dim=64, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=96, sliding_window=6)


def made(dtype: torch.dtype, packed: FormatName | None, *, fused: bool, threads: int = 2) -> Transformer:
    plain = network(CONFIG, dtype=dtype)
    with torch.device("meta"):
        model = Transformer(CONFIG, NativeKernels(threads))
    state = dict(plain.state_dict())
    if packed is not None:
        # w2 stays plain: a layer may hold both.
        names = [name for name in state if ".w" in name.removesuffix(".weight") and "w2" not in name]
        state |= insert(model, {name: nearest(state.pop(name), packed) for name in names}, model.kernels)
    model.load_state_dict(state, assign=True)
    model.eval().requires_grad_(False)
    if fused:
        fuse(model)
        assert isinstance(model.layers, FusedLayers)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [None, "int4", "int8"])
@settings(deadline=None, max_examples=8)
@given(data=st.data(), cached=st.sampled_from([torch.float32, torch.bfloat16, torch.int8]))
def test_fused_equals_single_steps(
    dtype: torch.dtype, packed: FormatName | None, data: st.DataObject, cached: torch.dtype
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=3), label="lengths")
    pieces = [data.draw(st.lists(st.integers(1, 9), min_size=30, max_size=30), label="pieces") for _ in lengths]
    answers = []
    for fused in (False, True):
        crowd = Crowd(made(dtype, packed, fused=fused), chunk=9, page_tokens=4, max_len=30, cached=cached)
        members = [crowd.join(random_ids(length, seed=seed)) for seed, length in enumerate(lengths)]
        for step in range(30):
            fed = [(member, min(member.left, sizes[step])) for member, sizes in zip(members, pieces, strict=True) if member.left]
            if fed:
                crowd.step(fed)
        answers.append([member.logits for member in members])
    assert all(torch.equal(single, whole) for single, whole in zip(*answers, strict=True))


def test_names_and_the_forward_without_a_cache_stay() -> None:
    single, whole = made(torch.float32, "int4", fused=False), made(torch.float32, "int4", fused=True)
    assert single.state_dict().keys() == whole.state_dict().keys()
    batch = TokenBatch.pack([Span(random_ids(11), logits="all")])
    assert torch.equal(single(batch), whole(batch))


def test_other_kernels_are_left_alone() -> None:
    model = network(CONFIG)
    fuse(model)
    assert not isinstance(model.layers, FusedLayers)

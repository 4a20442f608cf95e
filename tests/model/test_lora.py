"""Adapters: what they add, that they leave everything else alone, and that each row has the bits it has alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.kernels.native_room import instruction_sets
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.fused import FusedLayers, fuse
from mistral7b.model.lora import (
    TARGETS,
    LoraLinear,
    LoraSpec,
    adapter_weights,
    add_adapter,
    n_adapters,
    new_adapter_weight,
    put_adapter,
)
from mistral7b.model.transformer import Transformer
from mistral7b.quant.formats import FormatName
from mistral7b.quant.linear import QuantLinear, insert
from mistral7b.quant.nearest import nearest
from tests.checkpoint import made
from tests.equivalence.crowd import Crowd
from tests.equivalence.networks import ROOMS, network, random_ids, room, small

CONFIG = small()
IDS = random_ids(21)
BATCH = TokenBatch.pack([Span(IDS, logits="all")])


def filled(model: Transformer, spec: LoraSpec, seed: int) -> dict[str, Tensor]:
    """Weights of an adapter that changes every logit."""
    return dict(made.adapter(model.config, spec, seed=seed, strength=0.3).weights)


def packed_network(format: FormatName) -> Transformer:
    """All projections of the layers packed."""
    model = network(CONFIG, kernels=TrainingKernels())
    matrices = {name: nearest(w, format) for name, w in model.state_dict().items() if ".w" in name.removesuffix(".weight")}
    insert(model, matrices, model.kernels)
    return model


def test_a_new_adapter_changes_nothing_and_alone_is_trained() -> None:
    model, expected = network(CONFIG), network(CONFIG)(BATCH)
    assert add_adapter(model.requires_grad_(True), LoraSpec(4, 8.0), seed=3) == 0
    assert torch.equal(model(BATCH), expected)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * 7 * CONFIG.n_layers
    assert all(".lora_A.0" in name or ".lora_B.0" in name for name in trained)
    weights = adapter_weights(model, 0)
    assert len(weights) == len(trained)
    assert weights["layers.1.feed_forward.w2.lora_A.weight"].shape == (4, CONFIG.hidden_dim)
    assert weights["layers.1.feed_forward.w2.lora_B.weight"].shape == (CONFIG.dim, 4)
    a = weights["layers.0.attention.wq.lora_A.weight"]
    assert a.dtype == torch.float32
    assert 0.9 * CONFIG.dim**-0.5 < a.abs().max() <= CONFIG.dim**-0.5
    assert torch.equal(a, new_adapter_weight("layers.0.attention.wq.lora_A.weight", (4, CONFIG.dim), 3))
    assert not torch.equal(a, weights["layers.1.attention.wq.lora_A.weight"])
    assert not any(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)


@pytest.mark.parametrize("targets", [TARGETS, ("wq", "wv"), ("w2",)])
def test_an_adapter_equals_its_merged_weights(targets: tuple[str, ...]) -> None:
    spec = LoraSpec(5, 7.0, targets=targets)
    base, model = network(CONFIG), network(CONFIG)
    weights = filled(base, spec, 1)
    put_adapter(model, weights, spec)
    merged = base.state_dict()
    for place in spec.places(CONFIG.n_layers):
        product = weights[f"{place}.lora_B.weight"] @ weights[f"{place}.lora_A.weight"]
        merged[f"{place}.weight"] = merged[f"{place}.weight"] + spec.scale * product
    plain = Transformer(CONFIG)
    plain.load_state_dict(merged)
    torch.testing.assert_close(model(BATCH), plain(BATCH), atol=2e-4, rtol=1e-4)
    assert (model(BATCH) - base(BATCH)).abs().max() > 0.5
    for name, weight in adapter_weights(model, 0).items():
        assert torch.equal(weight, weights[name])
    assert not any(weight.requires_grad for weight in model.parameters() if weight.shape == (5, CONFIG.dim))


def test_scales_by_module() -> None:
    spec = LoraSpec(4, 8.0, targets=("wq", "w1"))
    one, two = network(CONFIG), network(CONFIG)
    weights = filled(one, spec, 1)
    put_adapter(one, weights, spec)
    put_adapter(two, weights, dict.fromkeys(spec.places(CONFIG.n_layers), 2.0))
    assert torch.equal(one(BATCH), two(BATCH))


@pytest.mark.parametrize("kernels", ROOMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_several_in_one_batch_have_the_bits_of_each_alone(kernels: str, dtype: torch.dtype, data: st.DataObject) -> None:
    """Prefills and decodes of two adapters and the base, in any order and pieces, fused layers included."""
    specs = [LoraSpec(data.draw(st.integers(1, 20), label="rank"), 6.0), LoraSpec(8, 4.0, targets=("wq", "w2"))]
    base = network(CONFIG, dtype=dtype, kernels=room(kernels))
    adapters = [filled(base, spec, seed) for seed, spec in enumerate(specs)]
    model = network(CONFIG, dtype=dtype, kernels=room(kernels))
    fuse(model)
    assert [put_adapter(model, weights, spec) for weights, spec in zip(adapters, specs, strict=True)] == [0, 1]
    routes = data.draw(st.lists(st.integers(-1, 1), min_size=1, max_size=5), label="routes")
    crowd = Crowd(model, chunk=9, page_tokens=4, max_len=30)
    members = [crowd.join(random_ids(data.draw(st.integers(1, 25)), seed=seed)) for seed in range(len(routes))]
    while any(member.left for member in members):
        fed = [
            (member, min(member.left, data.draw(st.integers(1, 9))), route)
            for member, route in zip(members, routes, strict=True)
            if member.left
        ]
        crowd.step([(member, n) for member, n, _ in fed], [route for _, _, route in fed])
    for member, route in zip(members, routes, strict=True):
        lone = Crowd(model if route >= 0 else base, chunk=9, page_tokens=4, max_len=30)
        again = lone.join(member.ids)
        while again.left:
            lone.step([(again, min(again.left, 9))], [route] if route >= 0 else None)
        assert torch.equal(member.logits, again.logits)


@pytest.mark.skipif(not instruction_sets(), reason="built without native kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_all_layers_in_one_call_have_the_bits_of_single_steps(dtype: torch.dtype, kept: torch.dtype, data: st.DataObject) -> None:
    """Adapters put on before and after, of other types and targets than the network's; one put on a network that has run."""
    plain = network(CONFIG, dtype=dtype, kernels=room("native"))
    specs = [LoraSpec(data.draw(st.integers(1, 20), label="rank"), 6.0), LoraSpec(8, 4.0, targets=("wq", "w2"))]
    weights = [{name: x.to(kept) for name, x in filled(plain, spec, seed).items()} for seed, spec in enumerate(specs)]
    pieces = data.draw(st.lists(st.tuples(st.integers(1, 9), st.integers(-1, 1)), min_size=1, max_size=5), label="pieces")
    answers = []
    for fused in (False, True):
        model = network(CONFIG, dtype=dtype, kernels=room("native"))
        put_adapter(model, weights[0], specs[0])
        if fused:
            fuse(model)
        one = _run(model, [(n, min(route, 0)) for n, route in pieces])
        put_adapter(model, weights[1], specs[1])
        answers.append([one, _run(model, pieces)])
    assert all(torch.equal(single, whole) for single, whole in zip(*answers, strict=True))


def _run(model: Transformer, pieces: list[tuple[int, int]]) -> torch.Tensor:
    """Logits of one step of sequences of these (length, adapter)."""
    crowd = Crowd(model, chunk=9, page_tokens=4, max_len=9)
    members = [crowd.join(random_ids(n, seed=seed)) for seed, (n, _) in enumerate(pieces)]
    crowd.step([(member, member.left) for member in members], [route for _, route in pieces])
    return torch.cat([member.logits for member in members])


@pytest.mark.skipif(not instruction_sets(), reason="built without native kernels")
def test_a_fused_network_steps_singly_where_it_must() -> None:
    """Adapters in training, and a batch that does not say which rows go through which."""
    spec = LoraSpec(8, 8.0)
    plain, model = network(CONFIG, kernels=room("native")), network(CONFIG, kernels=room("native"))
    fuse(model)
    put_adapter(model, filled(plain, spec, 1), spec)
    add_adapter(model, spec, 2)
    assert isinstance(model.layers, FusedLayers)
    for route, expected in ((-1, plain), (None, model), (0, model)):
        crowd = Crowd(model, chunk=9, page_tokens=4, max_len=9)
        member = crowd.join(IDS[:9])
        crowd.step([(member, 9)], None if route is None else [route])
        lone = expected(TokenBatch.pack([Span(IDS[:9], logits="all")]))
        torch.testing.assert_close(member.logits, lone, atol=2e-4, rtol=1e-4)
    assert not torch.equal(plain(BATCH), model(BATCH))


@pytest.mark.skipif(not instruction_sets(), reason="built without native kernels")
def test_other_adapters_beside_it_change_no_bit() -> None:
    spec = LoraSpec(5, 8.0)
    model = network(CONFIG, kernels=room("native"))
    weights = [filled(model, spec, seed) for seed in (1, 2)]
    fuse(model)
    put_adapter(model, weights[0], spec)
    alone = _run(model, [(9, 0), (4, -1)])
    put_adapter(model, weights[1], spec)
    assert torch.equal(_run(model, [(9, 0), (4, -1)]), alone)
    assert not torch.equal(_run(model, [(9, 1), (4, -1)]), alone)


@pytest.mark.parametrize("format", ["int4", "int8"])
def test_gradients_pass_packed_bases(format: FormatName) -> None:
    """Adapters over packed matrices train as over the decoded ones."""
    packed, spec = packed_network(format), LoraSpec(4, 8.0)
    modules = {name: module for name, module in packed.named_modules() if isinstance(module, QuantLinear)}
    state = {f"{name}.weight": module.packed.dense(torch.float32) for name, module in modules.items()}
    dense = network(CONFIG, kernels=TrainingKernels())
    dense.load_state_dict(state, strict=False)
    gradients = []
    for model in (packed, dense):
        add_adapter(model, spec, 0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        model(BATCH).square().mean().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert gradient is not None
        assert other is not None
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)
        assert bool(gradient.any()), name


def test_a_packed_product_keeps_nothing_dense() -> None:
    weight = nearest(torch.randn(48, 64, generator=torch.Generator().manual_seed(0)), "int4")
    x, kept = torch.randn(5, 64, requires_grad=True), list[int]()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        out = TrainingKernels().packed_linear(x, weight)
    out.sum().backward()
    assert not kept
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight.dense(torch.float32).sum(0).expand(5, -1))


def test_dropout_is_for_training() -> None:
    spec = LoraSpec(4, 8.0, dropout=0.5)
    model = network(CONFIG)
    add_adapter(model, spec, 0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    assert torch.equal(model(BATCH), model(BATCH))
    model.train()
    assert not torch.equal(model(BATCH), model(BATCH))


def test_numbers_go_on() -> None:
    model, spec = network(CONFIG), LoraSpec(2, 2.0, targets=("wk",))
    weights = filled(model, spec, 0)
    assert put_adapter(model, weights, spec) == 0
    assert add_adapter(model, LoraSpec(3, 3.0, targets=("wk", "w3")), 0) == 1
    assert n_adapters(model) == 2
    assert len(adapter_weights(model, 0)) == 2 * CONFIG.n_layers
    assert len(adapter_weights(model, 1)) == 4 * CONFIG.n_layers
    assert adapter_weights(model, 2) == {}
    assert isinstance(model.layers[0].feed_forward.w3, LoraLinear)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"dropout": 1.0}, {"targets": ()}, {"targets": ("w4",)}])
def test_a_spec_asserts_its_contract(wrong: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        LoraSpec(**({"rank": 2, "alpha": 2.0} | wrong))  # type: ignore[arg-type]

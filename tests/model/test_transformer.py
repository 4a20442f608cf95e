from __future__ import annotations

import pytest
import torch

from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.variants import V01, V03
from tests.equivalence.crowd import Crowd
from tests.equivalence.networks import network, random_ids, small


def test_the_published_sizes() -> None:
    """Parameters by name and number are those of consolidated.safetensors (FACTS 3.1, 3.4)."""
    for config, expected in ((V01, 7_241_732_096), (V03, 7_248_023_552)):
        with torch.device("meta"):
            model = Transformer(config)
        assert sum(p.numel() for p in model.parameters()) == expected == config.n_params
        assert len(model.state_dict()) == 291
    assert model.state_dict()["layers.31.attention.wk.weight"].shape == (1024, 4096)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.01), (torch.bfloat16, 0.08)])
@pytest.mark.parametrize("window", [8, None])
def test_half_precision_is_close_to_fp32(dtype: torch.dtype, error: float, window: int | None) -> None:
    """fp32 logits, finite, within a part of the largest fp32 logit: both paths."""
    config = small(n_layers=3, sliding_window=window)
    exact, rounded = network(config, dtype=dtype).float(), network(config, dtype=dtype)
    ids = random_ids(40)
    batch = TokenBatch.pack([Span(ids, logits="all")])
    expected = exact(batch)
    crowd = Crowd(rounded, chunk=7, page_tokens=4, max_len=40)
    member = crowd.join(ids)
    while member.left:
        crowd.step([(member, min(7, member.left))])
    for logits in (rounded(batch), member.logits):
        assert logits.dtype == torch.float32
        assert bool(logits.isfinite().all())
        assert 0 < (logits - expected).abs().max() < error * expected.abs().max()


def test_only_the_rows_asked_for() -> None:
    model = network(small())
    ids, other = random_ids(9), random_ids(5, seed=1)
    everything = model(TokenBatch.pack([Span(ids, logits="all"), Span(other, logits="all")]))
    some = model(TokenBatch.pack([Span(ids, logits="none"), Span(other)]))
    assert torch.equal(some, everything[-1:])
    assert model(TokenBatch.pack([Span(ids, logits="none")])).shape == (0, 64)


def test_packed_sequences_do_not_see_each_other() -> None:
    """Without a cache: documents packed end to end give what each gives alone."""
    model = network(small(sliding_window=5))
    documents = [random_ids(length, seed=length) for length in (17, 1, 140, 6)]
    packed = model(TokenBatch.pack([Span(ids, logits="all") for ids in documents])).split([len(ids) for ids in documents])
    for ids, ours in zip(documents, packed, strict=True):
        torch.testing.assert_close(ours, model(TokenBatch.pack([Span(ids, logits="all")])), atol=1e-4, rtol=0)


def test_training_kernels_reach_every_weight() -> None:
    config = small()
    model = Transformer(config, TorchKernels(row_tile=None))
    model.load_state_dict(network(config).state_dict())
    batch = TokenBatch.pack([Span(random_ids(20), logits="all")])
    torch.testing.assert_close(model(batch), network(config)(batch), atol=1e-4, rtol=0)
    model(batch).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


def test_a_cache_without_tables_is_our_mistake() -> None:
    model = network(small())
    crowd = Crowd(model, chunk=1, page_tokens=4, max_len=8)
    with pytest.raises(AssertionError, match="needs page tables"):
        model(TokenBatch.pack([Span([1])]), crowd.pool)

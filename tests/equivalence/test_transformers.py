"""Against transformers' MistralForCausalLM with the same random weights, fp32, eager and sdpa.

There `sliding_window=W` means key > query - W beside the causal mask: W keys, the query's own included, as here
(masking_utils.sliding_window_overlay of transformers 5).
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from mistral7b.config import ModelConfig
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from tests.checkpoint.made import in_hf
from tests.equivalence import oracle
from tests.equivalence.crowd import Crowd
from tests.equivalence.networks import network, random_ids, small, weights

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # transformers' own imports
    from transformers import MistralConfig, MistralForCausalLM

CASES = [
    # window, tokens, KV heads of 8, theta, vocabulary
    (5, 40, 8, 1e4, 32_000),
    (8, 70, 4, 1e6, 32_768),
    (16, 64, 2, 1e4, 32_768),
    (8, 48, 1, 1e6, 32_000),
    (1, 12, 2, 1e4, 32_000),
    (None, 70, 2, 1e6, 32_768),
]


def _theirs(model: Transformer, attention: str) -> Any:
    """transformers' model with the weights of ours."""
    settings = model.config.to_hf(max_position_embeddings=512, dtype="float32") | {"attn_implementation": attention}
    theirs: Any = MistralForCausalLM(MistralConfig(**settings))
    theirs.load_state_dict(in_hf(dict(weights(model)), model.config))
    return theirs.eval()


def _config(window: int | None, kv_heads: int, theta: float, vocab: int) -> ModelConfig:
    return small(dim=64, n_layers=3, n_heads=8, n_kv_heads=kv_heads, rope_theta=theta, vocab_size=vocab, sliding_window=window)


def _paged(model: Transformer, ids: list[int]) -> Tensor:
    """Logits through the cache, in pieces of 1, 2, 3, ... tokens."""
    crowd = Crowd(model, chunk=len(ids), page_tokens=4, max_len=len(ids))
    member = crowd.join(ids)
    while member.left:
        crowd.step([(member, min(len(member.rows) + 1, member.left))])
    return member.logits


@pytest.mark.parametrize(("window", "tokens", "kv_heads", "theta", "vocab"), CASES)
def test_every_logit(window: int | None, tokens: int, kv_heads: int, theta: float, vocab: int) -> None:
    model = network(_config(window, kv_heads, theta, vocab))
    ids = random_ids(tokens, vocab=vocab)
    ours = model(TokenBatch.pack([Span(ids, logits="all")]))
    paged = _paged(model, ids)
    for attention in ("eager", "sdpa"):
        with torch.no_grad():
            expected = _theirs(model, attention)(torch.tensor([ids])).logits[0]
        assert expected.shape == ours.shape == (tokens, vocab)
        assert expected.abs().max() > 1
        assert (ours - expected).abs().max() < 1e-4
        assert (paged - expected).abs().max() < 1e-4
    assert (ours - oracle.logits(weights(model), model.config, ids)).abs().max() < 1e-4


def test_the_comparison_can_fail() -> None:
    """One key more in the window, another theta, or wq in the wrong row order: each is far past the bound."""
    model = network(_config(8, 2, 1e4, 500))
    ids = random_ids(40, vocab=500)
    ours = model(TokenBatch.pack([Span(ids, logits="all")]))
    for other in (_config(9, 2, 1e4, 500), _config(8, 2, 1e6, 500)):
        changed = network(other)
        with torch.no_grad():
            assert (_theirs(changed, "sdpa")(torch.tensor([ids])).logits[0] - ours).abs().max() > 0.1
    theirs = _theirs(model, "sdpa")
    with torch.no_grad():
        theirs.model.layers[0].self_attn.q_proj.weight.copy_(weights(model)["layers.0.attention.wq.weight"])
        assert (theirs(torch.tensor([ids])).logits[0] - ours).abs().max() > 0.1


@pytest.mark.parametrize(("window", "kv_heads", "theta"), [(8, 2, 1e4), (5, 8, 1e6), (16, 1, 1e4)])
def test_greedy_over_four_windows(window: int, kv_heads: int, theta: float) -> None:
    """A prompt longer than the window, then more than four windows of tokens, each fed back through the paged cache."""
    model = network(_config(window, kv_heads, theta, 997))
    prompt, new = random_ids(window + 3, vocab=997), 4 * window + 3
    crowd = Crowd(model, chunk=window, page_tokens=4, max_len=256)
    member = crowd.join(list(prompt))
    while len(member.ids) < len(prompt) + new:
        crowd.step([(member, min(window, member.left))])
        if not member.left:
            member.ids.append(int(member.rows[-1][-1].argmax()))
    theirs = _theirs(model, "sdpa").generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert member.ids == theirs[0].tolist()
    expected = oracle.logits(weights(model), model.config, member.ids[:-1])
    assert member.ids[len(prompt) :] == expected[len(prompt) - 1 :].argmax(-1).tolist()
    assert len(set(member.ids[len(prompt) :])) > 4, "a loop of few tokens proves little"

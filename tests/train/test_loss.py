"""The chunked loss is torch's cross-entropy, values and gradients, wherever its chunks end."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.data.pack import IGNORED
from mistral7b.train import loss
from mistral7b.train.loss import next_token_loss


def _drawn(rows: int, vocab: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, 12, generator=generator, dtype=torch.float64).requires_grad_()
    head = torch.randn(vocab, 12, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(0, vocab, (rows,), generator=generator)
    targets[torch.rand(rows, generator=generator) < 0.3] = IGNORED
    return states, head, targets


@settings(max_examples=25)
@given(rows=st.integers(1, 70), vocab=st.integers(2, 40), seed=st.integers(0, 99), z_loss=st.sampled_from([0.0, 1e-2]))
def test_equals_torch(rows: int, vocab: int, seed: int, z_loss: float) -> None:
    """Chunks of 16 rows, the least there are, against all at once in fp64."""
    ours, theirs = _drawn(rows, vocab, seed), _drawn(rows, vocab, seed)
    states, head = (x.detach().float().requires_grad_() for x in ours[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK_BYTES", 1)
        found = next_token_loss(states, head, ours[2], z_loss=z_loss)
    logits = theirs[0] @ theirs[1].T
    nll = F.cross_entropy(logits, theirs[2], ignore_index=IGNORED, reduction="sum")
    total = nll + z_loss * (logits.logsumexp(1).square() * (theirs[2] >= 0)).sum()
    (found.total * 0.5).backward()
    (total * 0.5).backward()
    torch.testing.assert_close(found.nll.double(), nll.detach(), atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(found.total.double(), total.detach(), atol=1e-3, rtol=1e-5, check_dtype=False)
    for mine, other in ((states, theirs[0]), (head, theirs[1])):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad.double(), other.grad, atol=1e-4, rtol=1e-4)


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    states, head, targets = _drawn(20, 10, 0)
    with torch.no_grad():
        found = next_token_loss(states.float(), head.float(), targets)
    assert not found.total.requires_grad
    assert found.nll > 0


def test_a_batch_without_targets_costs_nothing() -> None:
    states, head, targets = _drawn(5, 10, 0)
    found = next_token_loss(states, head, targets.fill_(IGNORED))
    found.total.backward()
    assert found.nll == 0
    assert states.grad is not None
    assert not states.grad.any()

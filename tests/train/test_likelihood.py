"""Log-likelihoods and divergences in chunks equal those of all logits at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mistral7b.train import likelihood
from mistral7b.train.likelihood import divergence, log_likelihoods


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "chunk_bytes", lambda _: 16 * 50 * 4)  # 16 rows


def _made(rows: int = 37) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    states, head = torch.randn(rows, 8, dtype=torch.float64, requires_grad=True), torch.randn(50, 8, dtype=torch.float64)
    targets = torch.randint(0, 50, (rows,))
    targets[::3] = -100
    return states, head, targets


def test_values_and_gradients_are_those_of_all_logits() -> None:
    states, head, targets = _made()
    weights = torch.randn(len(states), dtype=torch.float64)
    found = log_likelihoods(states, head, targets)
    (found * weights).sum().backward()
    ours, states.grad = states.grad, None
    wanted = -F.cross_entropy(states @ head.T, targets, ignore_index=-100, reduction="none")
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-6)
    (wanted * weights).sum().backward()
    torch.testing.assert_close(ours, states.grad, rtol=1e-6, atol=1e-6)


def test_a_row_without_a_target_pulls_nothing() -> None:
    states, head, _ = _made()
    found = log_likelihoods(states, head, torch.full((len(states),), -100))
    assert not found.any()
    found.sum().backward()
    assert states.grad is not None
    assert not states.grad.any()


def test_the_divergence_is_that_of_the_definition() -> None:
    states, head, _ = _made()
    others = torch.randn_like(states)
    p, q = ((x @ head.T).softmax(-1) for x in (states, others))
    torch.testing.assert_close(divergence(states, others, head), (p * (p / q).log()).sum(-1).float(), rtol=1e-4, atol=1e-5)
    assert not divergence(states, states, head).any()

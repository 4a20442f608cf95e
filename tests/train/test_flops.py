"""The arithmetic of a batch: every token through the layers, those with a target through the head."""

from __future__ import annotations

import torch

from mistral7b.data.pack import IGNORED
from mistral7b.train.flops import batch_flops
from tests.train.made import CONFIG


def test_rows_without_a_target_save_the_head() -> None:
    positions = torch.arange(40)
    targets = torch.full((40,), IGNORED)
    targets[30:] = 5
    layer = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64
    seen = sum(min(position + 1, 24) for position in range(40))
    expected = 6 * (40 * 2 * layer + 10 * 8192 * 32) + 12 * 2 * 4 * 8 * seen
    assert batch_flops(CONFIG, positions, targets) == expected

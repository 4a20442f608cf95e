from __future__ import annotations

import re

import pytest
import torch

from mistral7b.kernels.interface import visible
from tests.equivalence import oracle


def test_the_picture_in_the_docstring() -> None:
    """The 6 x 6 picture with W = 3 is what the rule computes, and what it must compute."""
    rows = re.findall(r"query \d +([x.](?: [x.]){5})$", visible.__doc__ or "", re.MULTILINE)
    picture = [[mark == "x" for mark in row.split()] for row in rows]
    assert picture == [
        [True, False, False, False, False, False],
        [True, True, False, False, False, False],
        [True, True, True, False, False, False],
        [False, True, True, True, False, False],
        [False, False, True, True, True, False],
        [False, False, False, True, True, True],
    ]
    position = torch.arange(6)
    assert visible(position[:, None], position, 3).tolist() == picture


@pytest.mark.parametrize("window", [1, 2, 7, 8, 9, 4096, None])
def test_a_query_sees_w_keys_itself_included(window: int | None) -> None:
    position = torch.arange(20)
    seen = visible(position[:, None], position, window)
    assert seen.sum(1).tolist() == [min(i + 1, window or 20) for i in range(20)]
    assert bool(seen.diagonal().all())
    assert torch.equal(seen, oracle.mask(20, window))

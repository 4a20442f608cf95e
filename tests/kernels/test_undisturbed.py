"""Torch keeps to one thread while native kernels have the processors, and gets its own back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mistral7b.kernels.native_room import NativeKernels, undisturbed
from mistral7b.kernels.torch_room import TorchKernels
from tests.kernels.native import needs_native


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@needs_native
def test_one_thread_for_as_long() -> None:
    kernels = NativeKernels(1)
    with undisturbed(kernels):
        assert torch.get_num_threads() == 1
        with undisturbed(kernels):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@needs_native
def test_an_error_gives_them_back() -> None:
    with pytest.raises(ZeroDivisionError), undisturbed(NativeKernels(1)):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


def test_torch_kernels_keep_theirs() -> None:
    with undisturbed(TorchKernels()):
        assert torch.get_num_threads() == 2

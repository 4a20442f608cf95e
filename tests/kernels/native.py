"""The native rooms that run on this machine, for tests."""

from __future__ import annotations

from functools import cache

import pytest

from mistral7b.kernels.native_room import NativeKernels, instruction_sets

SETS = [name for name, _, usable in instruction_sets() if usable]
needs_native = pytest.mark.skipif(not SETS, reason="native kernels are not built")


@cache
def room(instruction_set: str, threads: int = 1) -> NativeKernels:
    return NativeKernels(threads, instruction_set)

"""The machine's own rates, on as many threads as the model gets: reading memory, and multiplying int8."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from mistral7b.kernels.native_room import NativeKernels

_READ_BYTES = 1 << 29  # more than any cache holds
_ROWS = 512
_SHAPE = (14336, 4096)  # outputs, inputs of the widest matrix of a 7B


class Machine:
    """`read` and `int8` measure once each call, so that a benchmark can take turns with what it compares."""

    def __init__(self, kernels: NativeKernels) -> None:
        self._kernels = kernels
        self._memory = torch.ones(_READ_BYTES // 4, dtype=torch.int32)
        self._product = _int8_product(*_SHAPE)

    def read_gb_s(self) -> float:
        """Plain reading of memory, 10^9 bytes a second."""
        return self._memory.nbytes / timed(lambda: self._kernels.read(self._memory)) / 1e9

    def int8_gops(self) -> float | None:
        """oneDNN's int8 product of 512 rows, 10^9 multiplications and additions a second; None where torch has none."""
        if self._product is None:
            return None
        before = torch.get_num_threads()
        torch.set_num_threads(self._kernels.threads)
        try:
            return 2 * _ROWS * _SHAPE[0] * _SHAPE[1] / timed(self._product) / 1e9
        finally:
            torch.set_num_threads(before)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median(values: list[float]) -> float:
    return statistics.median(values)


def _int8_product(outputs: int, inputs: int) -> Callable[[], object] | None:
    """uint8 activations with a zero point times int8 weights with a scale a channel, fp32 out; called once already."""
    x = torch.randint(0, 256, (_ROWS, inputs), dtype=torch.uint8)
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    scales, zeros = torch.full((outputs,), 0.01), torch.zeros(outputs, dtype=torch.int32)
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight, [_ROWS, inputs])

        def product() -> object:
            return torch.ops.onednn.qlinear_pointwise(
                x, 0.01, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
            )

        product()
    except (RuntimeError, AttributeError, NotImplementedError):  # a build without oneDNN, or another processor
        return None
    return product

"""The machine itself: plain read bandwidth, and the rates of torch's matrix products, at the threads that the systems get.

Read: every thread sums its own share of 1 GiB with a loop that a compiler turns into wide loads (a C file of ten lines, made
when the worker starts); without a compiler, torch's sum. Products: 512 rows with the four shapes of a layer, int8 through oneDNN.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cpu_protocol import serve

_SOURCE = """
#include <stdint.h>
#include <stddef.h>
uint64_t total(const uint64_t *x, size_t n) {
    uint64_t sums[32] = {0};
    for (size_t i = 0; i + 32 <= n; i += 32)
        for (int j = 0; j < 32; j++) sums[j] += x[i + j];
    uint64_t all = 0;
    for (int j = 0; j < 32; j++) all += sums[j];
    return all;
}
"""
_BYTES = 1 << 30
_ROWS = 512
_SHAPES = ((4096, 4096), (14336, 4096), (14336, 4096), (4096, 14336))  # [outputs, inputs]
_REPEATS = 5


class Machine:
    """Every measurement answers {"value": the median of some repeats} in the unit of its figure."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.threads = threads
        self.numbers = torch.ones(_BYTES // 8, dtype=torch.int64)
        self.total = _compiled()
        self.products: dict[str, list[Callable[[], Any]]] = {}

    def about(self) -> dict[str, Any]:
        return {
            "torch": torch.__version__,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "read_by": "C" if self.total else "torch",
        }

    def read(self) -> dict[str, float]:
        return {"value": _BYTES / _median(self._read) / 1e9}

    def _read(self) -> None:
        if self.total is None:
            self.numbers.sum()
            return
        share = len(self.numbers) // self.threads
        starts = [self.numbers.data_ptr() + 8 * share * i for i in range(self.threads)]
        workers = [threading.Thread(target=self.total, args=(start, share)) for start in starts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def int8(self) -> dict[str, float]:
        return self._rate("int8", _int8_product)

    def bf16(self) -> dict[str, float]:
        return self._rate("bf16", lambda out, into: _float_product(out, into, torch.bfloat16))

    def fp32(self) -> dict[str, float]:
        return self._rate("fp32", lambda out, into: _float_product(out, into, torch.float32))

    @torch.inference_mode()
    def _rate(self, kind: str, make: Callable[[int, int], Callable[[], Any]]) -> dict[str, float]:
        if kind not in self.products:
            self.products[kind] = [make(*shape) for shape in _SHAPES]
        products = self.products[kind]
        work = sum(2 * _ROWS * out * into for out, into in _SHAPES)
        return {"value": work / _median(lambda: [product() for product in products]) / 1e9}


def _median(work: Callable[[], Any]) -> float:
    """Seconds; the first call warms up, and slow work (a type without instructions of its own) is not repeated."""
    seconds: list[float] = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
        if sum(seconds) > 5:
            break
    return statistics.median(seconds[1:] or seconds)


def _int8_product(out: int, into: int) -> Callable[[], Any]:
    """uint8 activations with a zero point times int8 weights with a scale a channel, fp32 out."""
    x = torch.randint(0, 256, (_ROWS, into), dtype=torch.uint8)
    weight = torch.randint(-127, 128, (out, into), dtype=torch.int8)
    scales, zeros = torch.full((out,), 0.01), torch.zeros(out, dtype=torch.int32)
    packed = torch.ops.onednn.qlinear_prepack(weight, [_ROWS, into])
    return lambda: torch.ops.onednn.qlinear_pointwise(
        x, 0.01, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


def _float_product(out: int, into: int, dtype: torch.dtype) -> Callable[[], Any]:
    x, weight = torch.randn(_ROWS, into).to(dtype), torch.randn(out, into).to(dtype)
    return lambda: torch.nn.functional.linear(x, weight)


def _compiled() -> Callable[..., int] | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "read.c"), Path(folder, "read.so")
        source.write_text(_SOURCE)
        subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
        total = ctypes.CDLL(str(library)).total
    total.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    total.restype = ctypes.c_uint64
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--states")
    parser.add_argument("--threads", type=int, required=True)
    machine = Machine(parser.parse_args().threads)
    serve({name: getattr(machine, name) for name in ("about", "read", "int8", "bf16", "fp32")})


if __name__ == "__main__":
    main()

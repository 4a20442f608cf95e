"""The native room: the same functions in C++ (native/), for a CPU, with the instruction set chosen when it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistral7b.kernels.torch_room import TorchKernels

if TYPE_CHECKING:
    from mistral7b.kernels.interface import PackedWeight

try:
    from mistral7b.kernels import _native
except ImportError:  # installed without a C++ compiler
    _native = None  # type: ignore[assignment]

_NUMBERS = {torch.float32: 0, torch.bfloat16: 1}
_FORMATS = {"int4": 0, "int5": 1, "int8": 2, "q4_0": 3, "q8_0": 4}
_INSTRUCTION_SET = "MISTRAL7B_INSTRUCTION_SET"


def instruction_sets() -> list[tuple[str, str, bool]]:
    """(name, what it needs, whether this processor has that), best first; empty where the native kernels were not built."""
    return [] if _native is None else _native.instruction_sets()


def best_instruction_set() -> str | None:
    """What `NativeKernels` takes by itself; the environment variable MISTRAL7B_INSTRUCTION_SET names another."""
    usable = [name for name, _, here in instruction_sets() if here]
    return os.environ.get(_INSTRUCTION_SET) or next(iter(usable), None)


class NativeKernels(TorchKernels):
    """fp32 and bf16 on the CPU; where C++ has nothing to offer (fp16, training), the torch room serves.

    `threads` is the caller's own included, by default one a processor that this process may use. Raises ValueError for an
    instruction set that cannot be used here, and for a build without native kernels.
    """

    def __init__(self, threads: int | None = None, instruction_set: str | None = None) -> None:
        super().__init__()
        name = instruction_set or best_instruction_set()
        if _native is None or name is None:
            raise ValueError("this installation has no native kernels: no C++ compiler was found when it was built")
        self._room = _native.Room(name, threads or processors())

    @property
    def instruction_set(self) -> str:
        return self._room.instruction_set

    @property
    def threads(self) -> int:
        return self._room.threads

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        if not (_served(x) and _served(weight)):
            return super().linear(x, weight)
        x, out = x.contiguous(), x.new_empty(x.shape[0], weight.shape[0])
        self._room.linear(_matrix(x), _matrix(weight.contiguous()), _matrix(out))
        return out

    def packed_linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        if not _served(x):
            return super().packed_linear(x, weight)
        x, out = x.contiguous(), x.new_empty(x.shape[0], weight.shape[0])
        assert weight.blocks.is_contiguous(), "blocks are read as they lie"
        scales = 0 if weight.scales is None else weight.scales.data_ptr()
        self._room.packed_linear(_matrix(x), _FORMATS[weight.format], weight.blocks.data_ptr(), scales, _matrix(out))
        return out

    def read(self, memory: Tensor) -> int:
        """The sum modulo 2^32 of the 32-bit words of a contiguous tensor: nothing but reading, on all threads."""
        assert memory.is_contiguous()
        return self._room.read(memory.data_ptr(), memory.nbytes // 4)


def _served(x: Tensor) -> bool:
    return x.dtype in _NUMBERS and x.device.type == "cpu" and not (x.requires_grad and torch.is_grad_enabled())


def _matrix(x: Tensor) -> tuple[int, int, int, int]:
    return x.data_ptr(), _NUMBERS[x.dtype], x.shape[0], x.shape[1]


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The native room: the same functions in C++ (native/), for a CPU, with the instruction set chosen when it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistral7b.kernels.cache import Pages
from mistral7b.kernels.tiles import QueryTiles
from mistral7b.kernels.torch_room import TorchKernels

if TYPE_CHECKING:
    from mistral7b.kernels.interface import Kernels, LowRank, PackedWeight

try:
    from mistral7b.kernels import _native
except ImportError:  # installed without a C++ compiler
    _native = None  # type: ignore[assignment]

_NUMBERS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_MOST_INT8_CHANNELS = 512  # native/table.hpp, kMostInt8Channels
_FORMATS = {"int4": 0, "int5": 1, "int8": 2, "q4_0": 3, "q8_0": 4}
_NO_WINDOW = 2**62
_INSTRUCTION_SET = "MISTRAL7B_INSTRUCTION_SET"


def instruction_sets() -> list[tuple[str, str, bool]]:
    """(name, what it needs, whether this processor has that), best first; empty where the native kernels were not built."""
    return [] if _native is None else _native.instruction_sets()


def best_instruction_set() -> str | None:
    """What `NativeKernels` takes by itself; the environment variable MISTRAL7B_INSTRUCTION_SET names another."""
    usable = [name for name, _, here in instruction_sets() if here]
    return os.environ.get(_INSTRUCTION_SET) or next(iter(usable), None)


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer: `matrices` are wq, wk, wv, wo, w1, w2, w3, each `[out, in]`; `adapted` has their adapters."""

    matrices: tuple[Tensor | PackedWeight, ...]
    adapted: tuple[LowRank | None, ...]
    attention_norm: Tensor
    ffn_norm: Tensor
    eps: float


@dataclass(frozen=True)
class Sequences:
    """A batch as the native attention takes it: `Kernels.plan`'s arguments, their addresses, and tiles for the torch room."""

    positions: Tensor
    borders: Tensor
    tables: Tensor
    page_tokens: int
    window: int | None
    device: torch.device

    @cached_property
    def addresses(self) -> tuple[int, int, int, int, int]:
        return self.positions.data_ptr(), self.borders.data_ptr(), self.tables.data_ptr(), *self.tables.shape

    @cached_property
    def tiles(self) -> QueryTiles:
        cut = QueryTiles.cut(self.positions, self.borders, self.tables, self.page_tokens, self.window)
        return cut.to(self.device)


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

    def low_rank(self, out: Tensor, x: Tensor, weights: LowRank, adapters: Tensor) -> Tensor:
        if not all(_served(each) for each in (out, x, weights.a, weights.b)):
            return super().low_rank(out, x, weights, adapters)
        x, out = x.contiguous(), out.clone(memory_format=torch.contiguous_format)
        self._room.low_rank(_matrix(x), _low_rank(weights), adapters.contiguous().data_ptr(), _matrix(out))
        return out

    def read(self, memory: Tensor) -> int:
        """The sum modulo 2^32 of the 32-bit words of a contiguous tensor: nothing but reading, on all threads."""
        assert memory.is_contiguous()
        return self._room.read(memory.data_ptr(), memory.nbytes // 4)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        if not (_served(x) and _served(weight) and x.dtype == weight.dtype):
            return super().rms_norm(x, weight, eps)
        x = x.contiguous()
        out = torch.empty_like(x)
        self._room.rms_norm(_matrix(x), weight.data_ptr(), eps, _matrix(out))
        return out

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if not _served(x):
            return super().rope(x, cos, sin)
        x = x.contiguous()
        out = torch.empty_like(x)
        self._room.rope(_matrix(x), cos.contiguous().data_ptr(), sin.contiguous().data_ptr(), x.shape[2], _matrix(out))
        return out

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        if not (_served(gate) and _served(up) and gate.dtype == up.dtype):
            return super().swiglu(gate, up)
        gate, up, out = gate.contiguous(), up.contiguous(), torch.empty_like(up)
        self._room.swiglu(_matrix(gate), _matrix(up), _matrix(out))
        return out

    def reads(self, pages: Pages) -> bool:
        """Whether C++ computes with a cache of this type and shape."""
        return _cache_served(pages)

    def write(self, x: Tensor, pages: Pages, slots: Tensor) -> None:
        if not (_served(x) and _cache_served(pages)):
            super().write(x, pages, slots)
            return
        self._room.write(_matrix(x.contiguous()), _pages(pages), slots.data_ptr())

    def plan(
        self, positions: Tensor, borders: Tensor, tables: Tensor, page_tokens: int, window: int | None, device: torch.device
    ) -> object:
        return Sequences(positions.contiguous(), borders.contiguous(), tables.contiguous(), page_tokens, window, device)

    def paged_attention(self, q: Tensor, k: Pages, v: Pages, plan: object) -> Tensor:
        assert isinstance(plan, Sequences), "a plan of this room"
        if not (_served(q) and _cache_served(k)):
            return super().paged_attention(q, k, v, plan.tiles)
        assert q.shape[0] == len(plan.positions), "one position a query"
        q = q.contiguous()
        out = torch.empty_like(q)
        self._room.attention(_matrix(q), _matrix(out), _pages(k), _pages(v), plan.addresses, plan.window or _NO_WINDOW)
        return out

    def bind_layer(self, weights: LayerWeights) -> _native.Layer | None:
        """A layer for `run_layers`; None where some weight is of a type that C++ does not compute with."""
        matrices = [_weight(each) for each in weights.matrices]
        found = [each for each in matrices if each is not None]
        plain = [weights.attention_norm, weights.ffn_norm, *(each for ranks in weights.adapted if ranks for each in ranks)]
        if len(found) < len(matrices) or not all(_served(each) for each in plain):
            return None
        adapted = [_NO_RANKS if ranks is None else _low_rank(ranks) for ranks in weights.adapted]
        return _native.Layer(found, adapted, weights.attention_norm.data_ptr(), weights.ffn_norm.data_ptr(), weights.eps)

    def run_layers(
        self,
        layers: list[_native.Layer],
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        slots: Tensor,
        k: Pages,
        v: Pages,
        plan: object,
        adapters: Tensor | None = None,
    ) -> Tensor:
        """x `[T, dim]` after all layers, keys and values written to `slots` of their pages: the bits of the single steps.

        `k` and `v` hold as many pages for each layer, those of the first before those of the second. `adapters` `[T]` int64
        is that of each row, -1 for none; None for no row's.
        """
        assert isinstance(plan, Sequences), "a plan of this room"
        out = x.clone(memory_format=torch.contiguous_format)
        self._room.layers(
            layers, _matrix(out), (cos.data_ptr(), sin.data_ptr()), slots.data_ptr(), _pages(k), _pages(v), plan.addresses,
            plan.window or _NO_WINDOW, 0 if adapters is None else adapters.data_ptr(),
        )  # fmt: skip
        return out


@contextmanager
def undisturbed(kernels: Kernels) -> Iterator[None]:
    """Torch on one thread for as long, if `kernels` are native and have the processors.

    A thread of torch's own, once it has helped, spins on for milliseconds on a processor that the kernels want: a tenth of the
    time of a decode step (docs/numbers.md).
    """
    before = torch.get_num_threads()
    if before == 1 or not isinstance(kernels, NativeKernels):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weight(weight: Tensor | PackedWeight) -> tuple[bool, int, int, int, int] | None:
    if isinstance(weight, Tensor):
        return (False, _NUMBERS[weight.dtype], weight.data_ptr(), 0, weight.shape[0]) if _served(weight) else None
    scales = 0 if weight.scales is None else weight.scales.data_ptr()
    return True, _FORMATS[weight.format], weight.blocks.data_ptr(), scales, weight.shape[0]


_NO_RANKS = (0, 0, 0, 0, 0, 0)


def _low_rank(weights: LowRank) -> tuple[int, int, int, int, int, int]:
    a, b, scales = weights
    assert a.is_contiguous(), "weights are read as they lie"
    assert b.is_contiguous(), "weights are read as they lie"
    assert scales.is_contiguous(), "weights are read as they lie"
    return a.data_ptr(), b.data_ptr(), scales.data_ptr(), _NUMBERS[a.dtype], len(a), len(scales) - 1


def _served(x: Tensor) -> bool:
    return (
        x.dtype in (torch.float32, torch.bfloat16)
        and x.device.type == "cpu"
        and not (x.requires_grad and torch.is_grad_enabled())
    )


def _cache_served(pages: Pages) -> bool:
    numbers = pages.numbers
    return _served(numbers) or (numbers.dtype == torch.int8 and numbers.shape[3] <= _MOST_INT8_CHANNELS)


def _matrix(x: Tensor) -> tuple[int, int, int, int]:
    return x.data_ptr(), _NUMBERS[x.dtype], x.shape[0], x[0].numel() if len(x) else 0


def _pages(pages: Pages) -> tuple[int, int, int, int, int, int, int]:
    numbers = pages.numbers
    assert numbers.is_contiguous(), "pages are read as they lie"
    assert pages.scales is None or pages.scales.is_contiguous(), "and so are scales"
    scales = 0 if pages.scales is None else pages.scales.data_ptr()
    return numbers.data_ptr(), scales, _NUMBERS[numbers.dtype], *numbers.shape


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

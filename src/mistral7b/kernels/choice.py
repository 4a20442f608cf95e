"""Which room of kernels serves a model."""

from __future__ import annotations

from typing import Literal

import torch

from mistral7b.errors import RequestError
from mistral7b.kernels.interface import Kernels
from mistral7b.kernels.native_room import NativeKernels, best_instruction_set
from mistral7b.kernels.torch_room import TorchKernels

KernelsName = Literal["auto", "torch", "native"]
_NATIVE_DTYPES = (torch.float32, torch.bfloat16)


def choose(name: KernelsName | Kernels, dtype: torch.dtype, device: torch.device) -> Kernels:
    """The kernels `name` for a model of `dtype` on `device`; "auto" is the native room where it serves, else the torch room.

    A room passes through, so that a model and its draft model share one pool of threads. Raises RequestError for a name that
    is none, and for "native" where it cannot serve.
    """
    if not isinstance(name, str):
        return name
    if name not in ("auto", "torch", "native"):
        raise RequestError(f"kernels must be auto, torch or native, not {name!r}")
    serves = device.type == "cpu" and dtype in _NATIVE_DTYPES
    if name == "torch" or (name == "auto" and not (serves and best_instruction_set())):
        return TorchKernels()
    if not serves:
        raise RequestError(
            f"native kernels compute bfloat16 and float32 on the cpu, not {str(dtype).removeprefix('torch.')} on "
            f"{device.type}; choose kernels torch"
        )
    try:
        return NativeKernels()
    except ValueError as error:
        raise RequestError(f"native kernels cannot be used here: {error}") from None


def described(kernels: Kernels) -> str:
    """The kernels in a few words, for people."""
    if isinstance(kernels, NativeKernels):
        return f"native kernels ({kernels.instruction_set}, {kernels.threads} thread{'s'[: kernels.threads != 1]})"
    return "torch kernels"

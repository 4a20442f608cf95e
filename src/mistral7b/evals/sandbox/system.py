"""Calls of the C library, by name or number. Imports nothing but the standard library, as all that runs inside."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache

NO_NEW_PRIVILEGES, PARENT_DEATH_SIGNAL = 38, 1  # of prctl


def machine() -> str | None:
    """The name of the processor if programs can be contained on it: numbers of system calls are its own."""
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    return name if sys.platform == "linux" and sys.maxsize > 2**32 and name in ("x86_64", "aarch64") else None


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A function of the C library. Raises OSError if it gives -1."""
    found = int(getattr(_libc(), name)(*map(_wide, arguments)))
    if found == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return found


def _wide(argument: object) -> object:
    """Whole numbers fill a register: what is variadic would else read rubbish in its upper half."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def drop_capabilities() -> None:
    """Root without any of its powers but that of owning its files; for anybody else nothing changes."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())

"""Landlock: which files a program may read, and which write (Linux 6.2, docs.kernel.org/userspace-api/landlock.html)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from mistral7b.evals.sandbox.system import NO_NEW_PRIVILEGES, call

LEAST_ABI = 3  # the first that knows truncation
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, of the same number on all processors
_WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_CHAR, _MAKE_BLOCK, _TRUNCATE, _IOCTL = (1 << bit for bit in (1, 2, 3, 6, 11, 14, 15))
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL  # rights that a rule on a single file may name
_NET, _SCOPE = 0b11, 0b11  # bind and connect of TCP; abstract sockets and signals


def abi() -> int:
    """The version the kernel speaks; 0 if it has none."""
    try:
        return call("syscall", _CREATE, 0, 0, 1)
    except OSError:
        return 0


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """From now on this process reads and writes nothing but what is beneath these paths, opens no TCP connection and signals
    nobody outside. Paths that do not exist are left out. Raises OSError if the kernel refuses."""
    version = abi()
    if version < LEAST_ABI:
        raise OSError(f"landlock speaks version {version}, {LEAST_ABI} is needed")
    handled = (1 << (16 if version >= 5 else 15)) - 1
    attributes = [handled, *([_NET] if version >= 4 else []), *([_SCOPE] if version >= 6 else [])]
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    rules = call("syscall", _CREATE, ctypes.c_char_p(packed), len(packed), 0)
    for path in readable:
        _allow(rules, path, _READ_FILE | _READ_DIR)
    for path in writable:
        _allow(rules, path, handled & ~(1 | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL))
    call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call("syscall", _RESTRICT, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= _OF_FILES
    call("syscall", _ADD, rules, 1, ctypes.c_char_p(struct.pack("=Qi", rights, place)), 0)
    os.close(place)

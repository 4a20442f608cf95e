"""Mounts: a root of its own for a program, in which nothing is but what it may read and write. For kernels without landlock."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from mistral7b.evals.sandbox.system import call

_NEW = 0x10000000 | 0x00020000 | 0x40000000 | 0x08000000  # user, mount, network, System V namespaces
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
# flags that a mount has, as statvfs and as mount number them: a namespace may not take them away
_KEPT = {os.ST_NOSUID: _NO_SUID, os.ST_NODEV: _NO_DEVICES, os.ST_NOEXEC: _NO_EXEC, 1024: 1024, 2048: 2048, 4096: 1 << 21}


def restrict(readable: Iterable[str], writable: Iterable[str], root: str) -> None:
    """Puts this process into namespaces of its own, with `root` (an empty folder) as the root of its file system, and there,
    under their own names, `readable` read-only and `writable`. What does not exist is left out. The working folder stays.

    Raises OSError where the kernel gives no user namespace.
    """
    here, user, group = os.getcwd(), os.getuid(), os.getgid()
    call("unshare", _NEW)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NO_SUID | _NO_DEVICES, "size=1m,mode=755")
    for path in readable:
        _show(path, root, read_only=True)
    for path in writable:
        _show(path, root, read_only=False)
    _mount(None, root, None, _REMOUNT | _READ_ONLY | _NO_SUID | _NO_DEVICES)
    os.chdir(root)
    call("syscall", {"x86_64": 155}.get(os.uname().machine, 41), b".", b".")  # pivot_root: the old root lies over the new one
    call("umount2", b".", _DETACH)
    os.chdir(here)


def _show(path: str, root: str, *, read_only: bool) -> None:
    """`path` in the new root, under its own name."""
    path = os.path.realpath(path)
    if not os.path.exists(path) or os.path.exists(root + path):
        return
    if os.path.isdir(path):
        os.makedirs(root + path)
    else:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.close(os.open(root + path, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, root + path, None, _BIND)  # not what else is mounted beneath: it would stay writable
    kept = sum(flag for had, flag in _KEPT.items() if os.statvfs(path).f_flag & had)
    device = 0 if path.startswith("/dev/") else _NO_DEVICES
    _mount(None, root + path, None, _REMOUNT | _BIND | _NO_SUID | device | kept | (_READ_ONLY if read_only else 0))


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    def text(value: str | None) -> ctypes.c_char_p:
        return ctypes.c_char_p(None if value is None else os.fsencode(value))

    call("mount", text(source), text(target), text(kind), flags, text(data))

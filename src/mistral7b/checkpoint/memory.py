"""How many bytes a process can still take: the device's free memory, bounded by the limits of its containers."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import torch

# cgroup v1 writes "no limit" as a number near 2^63.
_NO_LIMIT = 1 << 60


def available_bytes(device: torch.device | str = "cpu", *, root: Path = Path("/")) -> int | None:
    """Bytes free on `device`, page cache that can be dropped included; None where the system does not say.

    On the CPU the least of /proc/meminfo's MemAvailable and what every enclosing cgroup (v1 or v2) leaves. `root` is where
    proc and sys are mounted.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return _physical()
    bounds = [_mem_available(root), *_cgroup_rooms(root)]
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else _physical()


def _mem_available(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_rooms(root: Path) -> list[int]:
    """What each memory cgroup from ours up to the root leaves."""
    rooms = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, inner = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file") if controllers else _V2
        own = PurePosixPath(inner.lstrip("/"))
        # Inside a container the path of /proc is the host's and may not exist here; its root then is the limit that counts.
        rooms += [room for level in (own, *own.parents) if (room := _room(base / level, *names)) is not None]
    return rooms


_V2 = ("memory.max", "memory.current", "inactive_file")


def _room(group: Path, limit_file: str, used_file: str, reclaimable: str) -> int | None:
    limit, used = _number(group / limit_file), _number(group / used_file)
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    stat = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat"))
    return max(0, limit - used + int(stat.get(reclaimable, 0)))


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _physical() -> int | None:
    """All memory of the machine, for systems without /proc."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None

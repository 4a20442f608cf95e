from __future__ import annotations

import os
from pathlib import Path

import pytest

from mistral7b.checkpoint.memory import available_bytes

GIB = 2**30


def _write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _machine(root: Path, cgroup: str) -> Path:
    _write(root, proc__meminfo=f"MemTotal: 99 kB\nMemAvailable:   {16 * GIB // 1024} kB\n", proc__self__cgroup=cgroup)
    return root


def _group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("memory_", "memory.", 1)).write_text(text)


def test_without_a_cgroup_it_is_memavailable(tmp_path: Path) -> None:
    assert available_bytes(root=_machine(tmp_path, "0::/\n")) == 16 * GIB


def test_v2_takes_the_tightest_level_and_counts_droppable_cache(tmp_path: Path) -> None:
    root = _machine(tmp_path, "0::/a/b\n")
    base = root / "sys/fs/cgroup"
    _group(base / "a/b", memory_max="max\n", memory_current="5\n", memory_stat="inactive_file 0\n")
    assert available_bytes(root=root) == 16 * GIB
    stat = f"anon 7\ninactive_file {GIB}\n"
    _group(base / "a", memory_max=f"{8 * GIB}\n", memory_current=f"{3 * GIB}\n", memory_stat=stat)
    assert available_bytes(root=root) == 6 * GIB
    _group(base / "a/b", memory_max=f"{2 * GIB}\n", memory_current=f"{3 * GIB}\n", memory_stat="inactive_file 0\n")
    assert available_bytes(root=root) == 0


def test_inside_a_container_the_hosts_path_may_not_exist(tmp_path: Path) -> None:
    root = _machine(tmp_path, "0::/host/only/path\n")
    _group(root / "sys/fs/cgroup", memory_max=f"{4 * GIB}\n", memory_current=f"{GIB}\n", memory_stat="")
    assert available_bytes(root=root) == 3 * GIB


def test_v1(tmp_path: Path) -> None:
    root = _machine(tmp_path, "5:cpu,cpuacct:/x\n4:memory:/x\n")
    base = root / "sys/fs/cgroup/memory"
    unlimited, limited = str(2**63 - 4096), str(4 * GIB)
    _group(base, memory_limit_in_bytes=unlimited, memory_usage_in_bytes="1", memory_stat="")
    _group(
        base / "x", memory_limit_in_bytes=limited, memory_usage_in_bytes=str(3 * GIB), memory_stat=f"total_inactive_file {GIB}"
    )
    assert available_bytes(root=root) == 2 * GIB


def test_without_proc_it_is_the_machines_memory(tmp_path: Path) -> None:
    assert available_bytes(root=tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc")
def test_this_machine_says_something_possible() -> None:
    found = available_bytes("cpu")
    assert found is not None
    assert 0 < found <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

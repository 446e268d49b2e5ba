"""This machine's memory and cores, within the limits of a container (cgroup v2), and what this process keeps of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import sys
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")
"""Both exist on Linux alone."""


def total_memory() -> int:
    """Bytes of memory, or of what the container may use."""
    return min(int(psutil.virtual_memory().total), _limit() or 1 << 63)


def free_memory() -> int:
    """Bytes that can be allocated without paging anything out."""
    free, limit = int(psutil.virtual_memory().available), _limit()
    if limit is None:
        return free
    used = _number(r"(\d+)", "memory.current") - _number(r"\binactive_file (\d+)", "memory.stat")
    return min(free, max(0, limit - used))


def own_memory() -> int:
    """Bytes of memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed buffers instead of handing them back to the kernel: the page faults of buffers
    that are mapped anew take a third of a training step, and a fifth of a prefill of many prompts.

    For processes that do nothing but compute. Why so: decision 9 in docs/LOG.md.
    """
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (arena_max, 1)):
        _glibc("mallopt", option, value)


def return_freed_memory() -> None:
    """Hand back what `keep_freed_memory` keeps, such as an unloaded model's weights."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *given: int) -> None:
    """Nothing happens where there is another C library."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL("libc.so.6"), function)(*given)


def processor() -> str:
    """The processor's name, if the system gives it (ARM: numbers of maker and part), and architecture."""
    said = _cpuinfo()
    name = said.get("model name") or " ".join(said[key] for key in ("CPU implementer", "CPU part") if key in said)
    return f"{name or platform.processor() or 'unknown'} ({platform.machine()})"


def instructions() -> frozenset[str]:
    """The processor's instruction set extensions by Linux's names; empty where unknown."""
    said = _cpuinfo()
    return frozenset((said.get("flags") or said.get("Features") or "").split())


def _cpuinfo() -> dict[str, str]:
    """Fields of /proc/cpuinfo for the first processor."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(encoding="utf-8", errors="replace").strip().split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limit() -> int | None:
    """The container's memory limit in bytes; None without container or limit."""
    return _number(r"^(\d+)", "memory.max") or None


def _number(pattern: str, name: str) -> int:
    file = CGROUP / name
    match = re.search(pattern, file.read_text(encoding="ascii")) if file.is_file() else None
    return int(match[1]) if match else 0

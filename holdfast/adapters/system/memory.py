"""How much memory is left.

Responsibility: read it from the system.
Guarantees: never more than the cgroup allows; None where neither /proc nor a cgroup tells.
Not responsible for: deciding what fits.
Sources: proc(5), MemAvailable; the kernel's cgroup-v2 documentation, memory.max and memory.current.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["available_memory_bytes"]


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes that can be allocated without swapping.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    told = (_host_bytes(root / "proc/meminfo"), _cgroup_bytes(root / "sys/fs/cgroup"))
    return min((size_bytes for size_bytes in told if size_bytes is not None), default=None)


def _host_bytes(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_bytes(folder: Path) -> int | None:
    try:
        limit, used = (folder / "memory.max").read_text().strip(), (folder / "memory.current").read_text()
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))

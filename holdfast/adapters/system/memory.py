"""How much memory is left.

Responsibility: `HostMemory` from what the Linux kernel tells.
Guarantees: never more than any control group around the process allows, of either version and on every level; file
    cache that can be dropped counts as free; None where neither /proc nor a control group tells, as on other systems.
Not responsible for: deciding what fits: see `holdfast.domain.host_guard`.
Sources: proc(5), MemAvailable; cgroups(7), /proc/self/cgroup; the kernel's "Control Group v2", memory.max, memory.high,
    memory.current and memory.stat; its "Memory Resource Controller" for version 1. That `inactive_file` counts as free
    is how the kubelet measures a container's working set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.ports.model import HostMemory

__all__ = ["SystemMemory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Controller:
    """Where one version of control groups says what; `limits` are the files of which the lowest counts."""

    name: str
    mount: str
    limits: tuple[str, ...]
    usage: str
    reclaimable: str


_V2: Final = _Controller(
    name="",
    mount="sys/fs/cgroup",
    limits=("memory.max", "memory.high"),  # beyond the second one the process is not killed, but hardly runs
    usage="memory.current",
    reclaimable="inactive_file",
)
_V1: Final = _Controller(
    name="memory",
    mount="sys/fs/cgroup/memory",
    limits=("memory.limit_in_bytes",),  # a number near 2**63 when there is none
    usage="memory.usage_in_bytes",
    reclaimable="total_inactive_file",
)
_NO_LIMIT_BYTES: Final = 1 << 62


class SystemMemory:
    """The memory of this machine, or of the container that this process runs in.

    Args:
        root: where ``proc`` and ``sys`` are.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def available_bytes(self) -> int | None:
        """Return the bytes that can be allocated without swapping; None where nothing tells.

        Complexity: reads at most four files on each level of control groups.
        """
        told = [_host_bytes(self._root / "proc/meminfo")]
        for controller in (_V2, _V1):
            told += [_group_bytes(level, controller) for level in _levels(self._root, controller)]
        return min((size_bytes for size_bytes in told if size_bytes is not None), default=None)


def _host_bytes(meminfo: Path) -> int | None:
    available_kib = _named(meminfo, "MemAvailable:")
    return None if available_kib is None else available_kib * 1024


def _levels(root: Path, controller: _Controller) -> Iterator[Path]:
    """Yield the folder of the process's own group and those above it; what is not there is found missing later.

    Inside of a container the path is often the host's, of which only the mount itself can be seen.
    """
    mount = root / controller.mount
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controller.name in controllers.split(","):
            own = mount / path.lstrip("/")
            yield from (level for level in (own, *own.parents) if mount in level.parents)
    yield mount


def _group_bytes(folder: Path, controller: _Controller) -> int | None:
    used_bytes = _number(_read(folder / controller.usage))
    told = [_number(_read(folder / file)) for file in controller.limits]
    limits = [limit_bytes for limit_bytes in told if limit_bytes is not None and limit_bytes < _NO_LIMIT_BYTES]
    if used_bytes is None or not limits:
        return None
    reclaimable_bytes = _named(folder / "memory.stat", controller.reclaimable) or 0
    return max(0, min(limits) - max(0, used_bytes - reclaimable_bytes))


def _named(path: Path, name: str) -> int | None:
    """Return the number after `name` in a file of lines such as ``name number``."""
    lines = (line.split() for line in (_read(path) or "").splitlines())
    return next((_number(words[1]) for words in lines if words[:1] == [name] and len(words) > 1), None)


def _number(text: str | None) -> int | None:
    """Return a count; None for ``max``, which is no limit, and for whatever else is no number."""
    return int(text) if text is not None and text.strip().isdecimal() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


_: type[HostMemory] = SystemMemory

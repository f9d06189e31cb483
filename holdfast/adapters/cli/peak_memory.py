"""How much memory this process has had at most.

Responsibility: read it from the system.
Guarantees: None where the system does not tell.
Not responsible for: free memory: see `holdfast.ports.application.Diagnosis`.
Source: proc(5), VmHWM; getrusage(2).
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["peak_memory_bytes"]


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """Return the largest resident size so far.

    Args:
        status: where Linux tells it. getrusage would count what the process that started this one had.
    """
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return _peak_of_usage()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _peak_of_usage() -> int | None:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ModuleNotFoundError:  # pragma: no cover - Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

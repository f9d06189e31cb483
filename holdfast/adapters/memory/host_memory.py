"""Memory as somebody says it is.

Responsibility: `HostMemory` with a fixed answer: for tests, and for a machine that does not tell by itself.
Guarantees: says what it was given last.
Not responsible for: being right.
"""

from __future__ import annotations

from holdfast.ports.model import HostMemory

__all__ = ["FixedHostMemory"]


class FixedHostMemory:
    """Says the same until it is told otherwise.

    Attributes:
        free_bytes: what it says is available; None says that it is unknown.
    """

    def __init__(self, free_bytes: int | None) -> None:
        self.free_bytes = free_bytes

    def available_bytes(self) -> int | None:
        """Return what was given."""
        return self.free_bytes


_: type[HostMemory] = FixedHostMemory

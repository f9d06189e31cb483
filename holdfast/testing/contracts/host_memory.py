"""What every `HostMemory` must do.

Responsibility: the contract of `holdfast.ports.model`, as tests.
Guarantees: a guard can rely on a memory that passes.
Not responsible for: whether the number is right: only the adapter's own tests can see that.
"""

# ruff: noqa: D102 - a test's name is its docstring
from __future__ import annotations

import threading

from holdfast.ports.model import HostMemory

__all__ = ["HostMemoryContract"]


class HostMemoryContract:
    """Subclass it as ``Test…`` with a fixture ``memory``."""

    def test_available_is_a_number_from_0_or_unknown(self, memory: HostMemory) -> None:
        available_bytes = memory.available_bytes()

        assert available_bytes is None or (type(available_bytes) is int and available_bytes >= 0)

    def test_available_is_known_always_or_never(self, memory: HostMemory) -> None:
        known = {memory.available_bytes() is not None for _ in range(10)}

        assert len(known) == 1

    def test_available_can_be_read_in_any_thread(self, memory: HostMemory) -> None:
        read: list[int | None] = []
        thread = threading.Thread(target=lambda: read.append(memory.available_bytes()))
        thread.start()
        thread.join()

        assert len(read) == 1

"""Parameters in memory.

Responsibility: `ParameterStore` without a file or a server, for tests and for embedding.
Guarantees: those of the port; every change is told, and only changes are.
Not responsible for: other processes: they do not see it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import anyio
import anyio.lowlevel

from holdfast.ports.parameters import ParameterStore

__all__ = ["MemoryParameters"]


class MemoryParameters:
    """Holds what it was given last. For one event loop.

    Args:
        values: to begin with, by section and name.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._values: Mapping[str, object] = copy.deepcopy(dict(values or {}))
        self._index = 1
        self._changed = anyio.Event()

    @property
    def name(self) -> str:
        """What events and errors call it."""
        return "memory"

    def replace(self, values: Mapping[str, object]) -> None:
        """Hold `values` in place of all that it holds, and wake whoever waits for a change."""
        self._values = copy.deepcopy(dict(values))
        self._index += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def parameters(self, *, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
        """Return the parameters, once there is something new."""
        await anyio.lowlevel.checkpoint()
        if index == self._index:
            with anyio.move_on_after(wait_s):
                await self._changed.wait()
        return self._index, copy.deepcopy(dict(self._values))


_: type[ParameterStore] = MemoryParameters

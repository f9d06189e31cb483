"""Whether a model fits into what memory the machine has left.

Responsibility: compare what a model takes with what is free, before it is loaded.
Guarantees: a model that does not fit is refused with the numbers, before a byte of it is loaded; `reserve_bytes` stay
    free for everything else. Where the machine does not tell what is free, everything passes: a guess would refuse what
    fits, and the operating system still has the last word.
Not responsible for: measuring: see `holdfast.ports.model`; making room: see `holdfast.domain.model_slot`.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.validation import require_at_least
from holdfast.ports.errors import HostMemoryError
from holdfast.ports.model import HostMemory

__all__ = ["HostGuard", "HostGuardConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGuardConfig:
    """What stays free on the machine.

    Args:
        reserve_bytes: bytes that no model may take, from 0; for what this process and its neighbours allocate while
            they work. Default 512 MiB; unmeasured.

    Raises:
        ConfigurationError: if it is below 0.
    """

    reserve_bytes: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        require_at_least("host_guard.reserve_bytes", self.reserve_bytes, 0)


class HostGuard:
    """Says which model fits.

    Args:
        memory: what is free.
        config: what stays free.

    Example:
        >>> class Small:
        ...     def available_bytes(self) -> int:
        ...         return 1_000_000
        >>> HostGuard(Small(), HostGuardConfig(reserve_bytes=0)).check("llama", 2_000_000)
        Traceback (most recent call last):
            ...
        holdfast.ports.errors.HostMemoryError: model 'llama' needs 2000000 bytes and 1000000 are free; unload another \
or choose a smaller one
    """

    __slots__ = ("_config", "_memory")

    def __init__(self, memory: HostMemory, config: HostGuardConfig = HostGuardConfig()) -> None:
        self._memory = memory
        self._config = config

    def available_bytes(self) -> int | None:
        """Return what is free, the reserve included; None where nothing tells."""
        return self._memory.available_bytes()

    def check(self, model: str, needed_bytes: int) -> None:
        """Let a model pass that fits, or of which nobody can tell.

        Raises:
            HostMemoryError: it does not fit.
        """
        shortage = self.shortage(model, needed_bytes)
        if shortage is not None:
            raise shortage

    def shortage(self, model: str, needed_bytes: int) -> HostMemoryError | None:
        """Return why a model does not fit, with the numbers; None if it does, or nobody can tell.

        Args:
            model: its name.
            needed_bytes: what it takes, without the reserve.

        Complexity: one reading of the memory.
        """
        available_bytes = self._memory.available_bytes()
        with_reserve_bytes = needed_bytes + self._config.reserve_bytes
        if available_bytes is None or with_reserve_bytes <= available_bytes:
            return None
        return HostMemoryError(model=model, needed_bytes=with_reserve_bytes, available_bytes=available_bytes)

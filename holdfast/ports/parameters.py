"""Settings that are kept in one place for many processes.

Responsibility: `ParameterStore`, from which one layer of the settings is read, and which tells when it changes.
Guarantees: none of its own; `ParameterStoreContract` in `holdfast.testing.contracts` holds each adapter to its words.
Not responsible for: what the values mean, and whether they are valid: see `holdfast.application.settings`; asking again
    and how often: see `holdfast.domain.blocking_query`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["ParameterStore"]


class ParameterStore(Protocol):
    """Holds settings by section and name, as ``holdfast.toml`` does.

    Ordering: what was written before a question is in its answer, where the store has not lost it. Atomicity: each
    value is one that was written as a whole; values that were written one by one may be seen one by one. Idempotency:
    asking changes nothing. Cancellation: leaves nothing behind. Errors: `StoreUnavailableError` while it cannot be
    asked, and `StoreRefusedError` for what somebody has to mend: a permission, or contents that are no parameters.
    """

    @property
    def name(self) -> str:
        """What events and errors call it; no address, which may hold a password."""
        ...

    async def parameters(self, *, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
        """Return the parameters, once there is something new.

        Args:
            index: of the answer that the caller has; waits for another one. 0 waits for nothing.
            wait_s: for so many seconds at most, and somewhat longer; then the answer is the one that the caller has.

        Returns:
            The index of the answer, or None for one that makes no sense; and the values by name. A section is a mapping
            in the place of a value. A value is of the type that is meant, or text that stands for it.
        """
        ...

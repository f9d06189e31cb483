"""A store that several processes share.

Responsibility: what everything that is kept in such a store has in common.
Guarantees: none of its own.
Not responsible for: what is kept there: each kind has a port of its own beside this one; whether the store can be asked
    now: see `holdfast.domain.store_link`.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["SharedStore"]


class SharedStore(Protocol):
    """Tells its present contents from those that it had before it was emptied.

    Ordering and duplication: asking changes nothing but an empty store, which is given its epoch by the first who asks,
    once. Cancellation: the call did nothing, or completes. Errors: `StoreUnavailableError` and `StoreRefusedError`.
    """

    @property
    def name(self) -> str:
        """What events and errors call it; no address, which may hold a password."""
        ...

    async def epoch(self) -> str:
        """Return the name of the present contents: the same for all who ask, and another one once they were lost."""
        ...

"""What a pool hands out, and what it keeps for it.

Responsibility: one resource with its history, the lease on it, and a caller who waits for one.
Guarantees: a lease is told apart from every other lease on the same resource, so that a late return changes nothing.
Not responsible for: deciding anything: see `holdfast.domain.pool_core`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Lease", "Member", "TakeBack", "Waiter"]

T = TypeVar("T")


class Member(Generic[T]):
    """One resource of the pool.

    Args:
        resource: what the provider made.
        generation: of the pool, when its creation began.
        expires_at_s: when it is to be replaced.
    """

    __slots__ = ("expires_at_s", "generation", "idle_since_s", "is_reported", "leased_at_s", "resource", "uses")

    def __init__(self, resource: T, *, generation: int, expires_at_s: float) -> None:
        self.resource = resource
        self.generation = generation
        self.expires_at_s = expires_at_s
        self.uses = 0
        self.idle_since_s = self.leased_at_s = 0.0
        self.is_reported = False


class TakeBack(Protocol[T]):
    """Ends a lease."""

    def __call__(self, lease: Lease[T], *, broken: bool) -> None:
        """Take `lease` back, unless it has ended already."""
        ...


class Lease(Generic[T]):
    """A resource that is yours until you call `release` or `discard`.

    Exactly one of them ends it, the first; after that, or once the pool has closed, they do nothing. Use the resource
    no more then: it may be in other hands.

    Attributes:
        resource: what was leased.
    """

    __slots__ = ("_take_back", "resource")

    def __init__(self, resource: T, take_back: TakeBack[T]) -> None:
        self.resource = resource
        self._take_back = take_back

    def release(self) -> None:
        """Give the resource back in good condition; the caller who waits longest gets it at once."""
        self._take_back(self, broken=False)

    def discard(self) -> None:
        """Give it back after an operation that was cancelled or failed: it is reset if it can be, or else closed."""
        self._take_back(self, broken=True)


class Waiter(Generic[T]):
    """A caller in the line.

    Args:
        wake: called once, when either `lease` or `error` is there.
    """

    __slots__ = ("_wake", "error", "lease")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.lease: Lease[T] | None = None
        self.error: Exception | None = None

    def grant(self, lease: Lease[T]) -> None:
        """End the wait with a lease."""
        self.lease = lease
        self._wake()

    def refuse(self, error: Exception) -> None:
        """End the wait with an error."""
        self.error = error
        self._wake()

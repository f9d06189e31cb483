"""What a pool keeps, and how it is made and unmade.

Responsibility: the life of one pooled resource.
Guarantees: the pool calls `close` exactly once for every resource that `create` returned.
Not responsible for: counting, waiting and expiry: see `holdfast.domain.pool`.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["ResourceProvider"]

T = TypeVar("T")


class ResourceProvider(Protocol[T]):
    """Makes, checks, resets and closes the resources of one pool.

    Ordering: the calls about one resource never overlap; those about different resources may. Cancellation: each method
    may be cancelled; the pool then treats the resource as broken and closes it. Errors: `create` may raise any
    Exception, which reaches the callers that wait; whatever the other methods raise makes the pool discard the
    resource.
    """

    @property
    def resettable(self) -> bool:
        """Whether a resource whose user was cancelled in mid-operation can be made good again by `reset`."""
        ...

    async def create(self) -> T:
        """Return a new resource, ready for use."""
        ...

    async def validate(self, resource: T) -> bool:
        """Return whether an idle resource is still good."""
        ...

    async def reset(self, resource: T) -> None:
        """Bring a used resource back to its first state."""
        ...

    async def close(self, resource: T) -> None:
        """Release it for good."""
        ...

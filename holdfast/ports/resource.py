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

    Ordering: the calls about one resource never overlap, except that `close` does not wait for a user who keeps the
    resource beyond the closing of its pool; those about different resources may overlap. Cancellation: each call is
    cancelled when it takes too long, and each but `close` when the pool closes; a `create` that is cancelled leaves
    nothing open, and the resource of any other cancelled call is closed. Errors: `create` may raise any Exception,
    which reaches the callers that wait; whatever `validate` or `reset` raises makes the pool close the resource;
    whatever `close` raises is counted.
    """

    @property
    def resettable(self) -> bool:
        """Whether `reset` makes a resource good again whose user was cancelled or failed; the same at all times."""
        ...

    async def create(self) -> T:
        """Return a new resource, ready for use."""
        ...

    async def validate(self, resource: T) -> bool:
        """Return whether an idle resource is still good."""
        ...

    async def reset(self, resource: T) -> None:
        """Bring a used resource back to its first state; called only if `resettable`."""
        ...

    async def close(self, resource: T) -> None:
        """Release it for good, in whatever state it is."""
        ...

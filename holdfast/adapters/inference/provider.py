"""One backend for every lease of a pool.

Responsibility: `ResourceProvider` for backends that serve any number of calls at once and keep nothing between them.
Guarantees: every lease holds the same instance; a cancelled call costs the pool nothing: there is nothing to reset.
Not responsible for: the backend's own life: whoever made it closes it.
"""

from __future__ import annotations

from holdfast.ports.inference import InferenceBackend
from holdfast.ports.resource import ResourceProvider

__all__ = ["SharedBackendProvider"]


class SharedBackendProvider:
    """Hands out one backend; the pool then bounds how many calls it gets at once.

    Args:
        backend: safe for concurrent use.
    """

    def __init__(self, backend: InferenceBackend) -> None:
        self._backend = backend

    @property
    def resettable(self) -> bool:
        """Return True: a call that was cancelled leaves nothing behind."""
        return True

    async def create(self) -> InferenceBackend:
        """Return the backend."""
        return self._backend

    async def validate(self, resource: InferenceBackend) -> bool:
        """Return True: it holds no connection that could have broken."""
        return resource is self._backend

    async def reset(self, resource: InferenceBackend) -> None:
        """Do nothing: a call leaves nothing behind."""

    async def close(self, resource: InferenceBackend) -> None:
        """Do nothing: other leases hold the same instance."""


_: type[ResourceProvider[InferenceBackend]] = SharedBackendProvider

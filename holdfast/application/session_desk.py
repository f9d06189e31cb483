"""Where those who drive the service begin, read and end conversations.

Responsibility: who may begin a conversation, and with which persona.
Guarantees: none is begun once draining has, nor beyond its tenant's rate limit, of which each takes one request; the
    persona that answers in it is one that there is.
Not responsible for: keeping conversations: see `holdfast.domain.session_keeper`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from holdfast.application.reception import Reception
from holdfast.domain.persona import PersonaBook
from holdfast.domain.session_keeper import SessionKeeper, require_name
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.ports.session import Session, Sessions

__all__ = ["SessionDesk"]


class SessionDesk:
    """The conversations of a service. For one event loop.

    Args:
        keeper: keeps them.
        book: the personas that there are.
        tenants: what each tenant gets in a minute.
        reception: knows whether anything new is begun.
    """

    def __init__(
        self, keeper: SessionKeeper, *, book: PersonaBook, tenants: TenantLimits, reception: Reception
    ) -> None:
        self._keeper = keeper
        self._book = book
        self._tenants = tenants
        self._reception = reception

    async def create(
        self, *, tenant: str, system: str | None = None, persona: str | None = None, session_id: str | None = None
    ) -> str:
        """Begin a conversation; see `Sessions.create`.

        Cancellation: it was created, or not; nothing of the tenant's limit is taken.
        """
        self._reception.require_open()
        require_name("tenant", tenant)
        known = None if persona is None else self._book.named(persona).name
        with self._counted(tenant):
            return await self._keeper.create(tenant=tenant, system=system, persona=known, session_id=session_id)

    async def open(self, session_id: str, *, tenant: str) -> Session:
        """Return the conversation as it is now; see `SessionKeeper.open`."""
        return await self._keeper.open(session_id, tenant=tenant)

    async def delete(self, session_id: str, *, tenant: str) -> None:
        """Forget the conversation; see `SessionKeeper.delete`."""
        await self._keeper.delete(session_id, tenant=tenant)

    @contextmanager
    def _counted(self, tenant: str) -> Generator[None]:
        limit = self._tenants.get(tenant)
        if limit is None:
            yield
            return
        reservation = limit.reserve(0)
        try:
            yield
            reservation.settle(0)
        finally:
            reservation.cancel()  # changes nothing once it is settled


_: type[Sessions] = SessionDesk

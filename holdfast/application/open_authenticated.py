"""Opening the service for those who prove who they are.

Responsibility: build an orchestrator, with an `AuthenticatedService` in front of it, from settings.
Guarantees: both tell the same hub of events; the key is read before anything is opened.
Not responsible for: the parts themselves: see `holdfast.application.wiring`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync

from holdfast.application.authenticated_service import AuthenticatedService, Identity
from holdfast.application.container import Container
from holdfast.application.settings import Settings
from holdfast.application.wiring import make_container, open_with_events
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.events import EventSink
from holdfast.ports.inference import InferenceBackend

__all__ = ["open_authenticated_container", "open_authenticated_service"]


@asynccontextmanager
async def open_authenticated_service(
    settings: Settings | None = None,
    *,
    backends: Mapping[str, InferenceBackend] | None = None,
    event_sinks: Sequence[EventSink] = (),
) -> AsyncGenerator[AuthenticatedService]:
    """Open what `open_orchestrator` opens, for those who prove who they are; see ``identity`` in the settings.

    Args:
        settings: as for `open_orchestrator`.
        backends: as for `open_orchestrator`.
        event_sinks: as for `open_orchestrator`.

    Raises:
        ConfigurationError: a setting is wrong, or there is no ``identity``.
        KeyFileError: the key file cannot be used.

    Cancellation: as `open_orchestrator`.
    """
    async with open_authenticated_container(
        make_container(settings, backends=backends, event_sinks=event_sinks)
    ) as service:
        yield service


@asynccontextmanager
async def open_authenticated_container(container: Container) -> AsyncGenerator[AuthenticatedService]:
    """Open the service that `container` describes, as `open_authenticated_service` does.

    For those who replace a port: override its provider first.
    """
    settings: Settings = container.settings()
    if settings.identity is None:
        raise ConfigurationError("is not set; give audience, key_file and trust_file", path="identity")
    identity: Identity = await run_sync(container.identity)
    unix_s: Callable[[], float] = container.unix_s()
    make_bytes: Callable[[int], bytes] = container.random_bytes()
    async with open_with_events(container) as (orchestrator, events):
        yield AuthenticatedService(
            orchestrator,
            identity,
            settings.identity,
            clock=container.clock(),
            unix_s=unix_s,
            make_bytes=make_bytes,
            events=events,
        )

"""Holdfast as a whole program.

Responsibility: implement the driving port `holdfast.ports.application.Application` from loaded settings.
Guarantees: each call opens what it needs and closes it again; nothing is kept between calls.
Not responsible for: arguments, signals and exit codes: a driving adapter does those.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from dependency_injector import providers

from holdfast.application.batch import BatchRunner
from holdfast.application.consistency import check_consistency
from holdfast.application.container import Container
from holdfast.application.diagnosis import diagnose
from holdfast.application.gateway_settings import gateway_options
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.application.wiring import open_with_events
from holdfast.ports.application import Application, Diagnosis
from holdfast.ports.events import Event, EventSink, RegistryLost
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.journal import BatchSummary
from holdfast.ports.service import Service
from holdfast.ports.statistics import Health

__all__ = ["Program", "answer_fingerprint"]

JOURNAL_NAME: Final = "journal.sqlite"


class Program:
    """Opens services and batches.

    Args:
        loaded: the settings, with their sources.

    Raises:
        ConfigurationError: if two of the settings contradict each other.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        check_consistency(loaded.settings)
        self._loaded = loaded
        self._container = Container(settings=providers.Object(loaded.settings))
        self._container.loaded.override(providers.Object(loaded))  # pyright: ignore[reportUnknownMemberType] - untyped

    @asynccontextmanager
    async def open_service(
        self, *, notify: Callable[[str], None], reachable: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[Service]:
        """Open the orchestrator."""
        async with open_with_events(self._container, reachable=reachable) as (orchestrator, events):
            events.add(_Unlisted(orchestrator, notify))
            for sentence in _not_asked(self._container.loaded(), orchestrator.health()):
                notify(sentence)
            yield orchestrator

    @asynccontextmanager
    async def open_batch(self, folder: Path, *, notify: Callable[[str], None]) -> AsyncGenerator[BatchRunner]:
        """Open the batch kept in `folder`, with an orchestrator behind it."""
        async with self.open_service(notify=notify) as service:
            settings: Settings = self._container.settings()
            yield BatchRunner(
                service.submit,
                self._container.journal(folder / JOURNAL_NAME),
                self._container.writer(notify=notify),
                output_folder=folder,
                configuration=answer_fingerprint(settings),
                clock=self._container.clock(),
                config=settings.batch,
            )

    async def batch_summary(self, folder: Path) -> BatchSummary:
        """Return the batch kept in `folder` in numbers."""
        return await self._container.journal(folder / JOURNAL_NAME).summary()

    def gateway_options(self) -> GatewayOptions:
        """Return how the gateway is to be served, by the parameters too that an open service has read.

        Raises:
            ConfigurationError: a key is wrong, or the file of keys is.
        """
        settings: Settings = self._container.settings()
        return gateway_options(
            settings.gateway, max_request_bytes=settings.max_request_bytes, personas=settings.personas
        )

    async def diagnose(self) -> Diagnosis:
        """Return settings, checks and free memory."""
        return await diagnose(self._loaded, self._container)


class _Unlisted:
    """Tells that the registry cannot be told of this process, unless it ever was."""

    def __init__(self, service: Service, notify: Callable[[str], None]) -> None:
        self._service = service
        self._notify = notify

    def emit(self, event: Event) -> None:
        if not isinstance(event, RegistryLost):
            return
        registry = self._service.health().registry
        registration = None if registry is None else registry.registration
        if event.role == "registration" and registration is not None and not registration.registered:
            self._notify(
                "the registry cannot be told of this process, which nobody finds there until it can, "
                "see holdfast doctor"
            )


def _not_asked(loaded: LoadedSettings, health: Health) -> Iterator[str]:
    if health.parameters is not None and not loaded.has_parameters:
        yield "the parameters cannot be read; the other settings hold until they can, see holdfast doctor"
    followed = () if health.registry is None else health.registry.discoveries
    unknown = [repr(discovery.service) for discovery in followed if not discovery.query.joined]
    if unknown:
        yield f"the registry cannot be asked for {', '.join(unknown)}; left out until it can, see holdfast doctor"
    if health.shared is not None and not health.shared.joined:
        yield f"{health.shared.name} cannot be asked; nothing is shared until it can, see holdfast doctor"


def answer_fingerprint(settings: Settings) -> str:
    """Return what decides the answers, as canonical text; a batch is resumed only with the same.

    Limits, time-outs and retries are left out: they decide whether there is an answer, not which.
    """
    not_deciding = {"guard", "http", "always_streams", "api_key", "api_key_file"}
    backends = {
        name: chosen.model_dump(mode="json", exclude=not_deciding) for name, chosen in settings.backends_in_use.items()
    }
    retrieval = settings.retrieval.model_dump(mode="json", exclude={"index"})
    personas = {name: persona.model_dump(mode="json") for name, persona in settings.personas.items()}
    validators = {name: chosen.model_dump(mode="json") for name, chosen in settings.validators.items()}
    deciding = {
        "backends": list(backends.items()),  # their order decides, and that of the next two
        "personas": list(personas.items()),
        "validators": list(validators.items()),
        "prompts": settings.prompts,
        "retrieval": retrieval,
        "routing": (settings.routing.strategy, dict(settings.routing.weights)),
    }
    return json.dumps(deciding, sort_keys=True)


_: tuple[type[Application], type[EventSink]] = (Program, _Unlisted)

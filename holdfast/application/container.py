"""Which adapter stands behind each port.

Responsibility: one provider for each port, which makes the adapter that the settings choose.
Guarantees: a test replaces an adapter in one line (``container.clock.override(providers.Object(fake))``); an adapter's
    module is imported only when its provider is called.
Not responsible for: putting the parts together: see `holdfast.application.wiring`.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import assert_never

from dependency_injector import containers, providers

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.files.secret_file import read_secret_file
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.system.memory import SystemMemory
from holdfast.application.authenticated_service import Identity
from holdfast.application.host_settings import (
    ClaudeAgentSettings,
    LlamaCppSettings,
    make_agent_provider,
    make_llama_loader,
)
from holdfast.application.http_settings import make_http_provider, make_service_provider
from holdfast.application.parameter_settings import ConsulParameterSettings, ParameterSettings, TomlParameterSettings
from holdfast.application.prompt_settings import make_rules
from holdfast.application.registry_settings import ConsulRegistrySettings, FileRegistrySettings, RegistrySettings
from holdfast.application.settings import (
    AnthropicSettings,
    BackendSettings,
    ExtractiveSettings,
    GuardSettings,
    IdentitySettings,
    OpenAISettings,
    RetrievalSettings,
    ScriptedSettings,
    SessionSettings,
    Settings,
)
from holdfast.application.settings_sources import LoadedSettings
from holdfast.application.shared_stores import open_shared_stores
from holdfast.application.telemetry_settings import Telemetry, make_telemetry, open_log
from holdfast.domain.discovery import DiscoveryConfig
from holdfast.domain.event_hub import EventHub
from holdfast.domain.rate_trip_policy import RateTripPolicy
from holdfast.domain.registration import RegistrationConfig
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.events import EventSink
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.journal import BatchLedger
from holdfast.ports.model import ModelLoader
from holdfast.ports.parameters import ParameterStore
from holdfast.ports.registry import ServiceInstance, ServiceRegistry
from holdfast.ports.resource import ResourceProvider
from holdfast.ports.retrieval import Retriever
from holdfast.ports.retry import RetryStrategy
from holdfast.ports.session import SessionStore
from holdfast.ports.telemetry import Recorder
from holdfast.ports.trip import TripPolicy

__all__ = ["Backend", "Container", "Discovered", "Model", "Registry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend to be guarded.

    Args:
        provider: where its instances come from.
        guard: what stands around it.
    """

    provider: ResourceProvider[InferenceBackend]
    guard: GuardSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A backend to be guarded that has to be loaded before it answers.

    Args:
        loader: brings it into memory; its name tells it apart from other models.
        guard: what stands around it.
    """

    loader: ModelLoader
    guard: GuardSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """A backend whose instances are those of a service in the registry; each is guarded by itself.

    Args:
        service: as the registry knows it.
        make: returns the backend that reaches one instance; called once for each that appears. What it raises leaves
            that instance out.
    """

    service: str
    make: Callable[[ServiceInstance], Backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The registry, and what it is used for.

    Args:
        services: who is in it.
        discovery: how it is followed, where a backend is discovered.
        instance: this process as it registers; None where it does not.
        registration: how it stays registered.
    """

    services: ServiceRegistry
    discovery: DiscoveryConfig = field(default_factory=DiscoveryConfig)
    instance: ServiceInstance | None = None
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)


def _open_retriever(settings: RetrievalSettings, clock: Clock) -> AbstractAsyncContextManager[Retriever | None]:
    if settings.folder is None:
        return nullcontext()
    from holdfast.adapters.sqlite.fts_retriever import FtsRetriever  # noqa: PLC0415 - loaded when it is chosen

    return FtsRetriever(settings.folder, include=settings.include, index=settings.index, clock=clock)


def _backends(settings: Settings, clock: Clock) -> dict[str, Backend | Model | Discovered]:
    return {
        name: _backend(name, chosen, chosen.guard or settings.guard, clock)
        for name, chosen in settings.backends_in_use.items()
    }


def _backend(name: str, chosen: BackendSettings, guard: GuardSettings, clock: Clock) -> Backend | Model | Discovered:
    match chosen:
        case ExtractiveSettings():
            from holdfast.adapters.inference.extractive import ExtractiveBackend  # noqa: PLC0415 - as above

            return Backend(provider=SharedBackendProvider(ExtractiveBackend(name)), guard=guard)
        case ScriptedSettings():
            from holdfast.application.drill import scripted_backend, scripted_model  # noqa: PLC0415 - as above

            if chosen.model_bytes is not None:
                loader = scripted_model(name, chosen, size_bytes=chosen.model_bytes, clock=clock)
                return Model(loader=loader, guard=guard)
            return Backend(provider=SharedBackendProvider(scripted_backend(name, chosen, clock=clock)), guard=guard)
        case OpenAISettings() | AnthropicSettings():
            return _http_backend(name, chosen, guard)
        case ClaudeAgentSettings():
            return Backend(provider=make_agent_provider(name, chosen), guard=guard)
        case LlamaCppSettings():
            return Model(loader=make_llama_loader(name, chosen), guard=guard)
        case _:
            assert_never(chosen)


def _http_backend(name: str, chosen: OpenAISettings | AnthropicSettings, guard: GuardSettings) -> Backend | Discovered:
    if chosen.service is None:
        return Backend(provider=make_http_provider(name, chosen), guard=guard)
    make = make_service_provider(name, chosen)
    return Discovered(service=chosen.service, make=lambda instance: Backend(provider=make(instance), guard=guard))


def _open_session_store(settings: SessionSettings, clock: Clock) -> AbstractAsyncContextManager[SessionStore]:
    if settings.database is None:
        return nullcontext(MemorySessions(clock=clock))
    from holdfast.adapters.sqlite.sessions import SqliteSessions  # noqa: PLC0415 - as above

    return SqliteSessions(settings.database, clock=clock)


def _registry(settings: RegistrySettings | None, clock: Clock) -> Registry | None:
    if settings is None:
        return None
    own = settings.registration
    return Registry(
        services=_services(settings, clock),
        discovery=settings.discovery,
        instance=None if own is None else own.instance(),
        registration=RegistrationConfig() if own is None else own,
    )


def _services(settings: RegistrySettings, clock: Clock) -> ServiceRegistry:
    match settings:
        case FileRegistrySettings():
            from holdfast.adapters.files.registry import FileRegistry  # noqa: PLC0415 - as above

            return FileRegistry(settings.path, clock=clock, poll_s=settings.poll_s)
        case ConsulRegistrySettings():
            try:
                from holdfast.adapters.consul import ConsulClient, ConsulRegistry  # noqa: PLC0415 - as above
            except ImportError as error:
                raise ConfigurationError(str(error), path="registry.kind") from error

            client = ConsulClient(
                settings.address,
                token=None if settings.token is None else settings.token.get_secret_value(),
                read_token=_token_reader(settings.token_file, "registry.token_file"),
                ca_file=settings.ca_file,
                timeout_s=settings.call_timeout_s,
                section="registry",
            )
            return ConsulRegistry(client)
        case _:
            assert_never(settings)


def _token_reader(path: Path | None, setting: str) -> Callable[[], str] | None:
    return None if path is None else partial(read_secret_file, path, setting=setting)


def _given(settings: Settings) -> LoadedSettings:
    return LoadedSettings(settings=settings, sources={})


def _parameter_store(settings: ParameterSettings | None) -> ParameterStore | None:
    match settings:
        case None:
            return None
        case TomlParameterSettings():
            from holdfast.adapters.files.parameters import FileParameters  # noqa: PLC0415 - as above

            return FileParameters(settings.path, poll_s=settings.poll_s)
        case ConsulParameterSettings():
            try:
                from holdfast.adapters.consul import ConsulClient, ConsulParameters  # noqa: PLC0415 - as above
            except ImportError as error:
                raise ConfigurationError(str(error), path="parameters.kind") from error

            client = ConsulClient(
                settings.address,
                token=None if settings.token is None else settings.token.get_secret_value(),
                read_token=_token_reader(settings.token_file, "parameters.token_file"),
                ca_file=settings.ca_file,
                timeout_s=settings.query.slack_s,
                section="parameters",
            )
            return ConsulParameters(client, settings.prefix)
        case _:
            assert_never(settings)


def _log_sink() -> EventSink:
    from holdfast.adapters.logging import LoggingEventSink  # noqa: PLC0415 - as above

    return LoggingEventSink()


def _open_journal(path: Path) -> BatchLedger:
    from holdfast.adapters.sqlite.journal import SqliteJournal  # noqa: PLC0415 - as above

    return SqliteJournal(path)


def _retry_strategy(name: str, guard: GuardSettings) -> RetryStrategy:
    del name  # for those who override this provider
    return guard.retry


def _trip_policy(name: str, guard: GuardSettings) -> TripPolicy:
    del name  # as above
    return RateTripPolicy(guard.breaker)


def _event_sinks(
    log_events: bool,  # noqa: FBT001 - called by the container only
    make_log_sink: Callable[[], EventSink],
    telemetry: Telemetry,
    own: tuple[EventSink, ...],
) -> tuple[EventSink, ...]:
    return (*telemetry.sinks, make_log_sink(), *own) if log_events else (*telemetry.sinks, *own)


def _recorders(telemetry: Telemetry, own: tuple[Recorder, ...]) -> tuple[Recorder, ...]:
    return (*telemetry.recorders, *own)


def _identity(settings: IdentitySettings) -> Identity:
    from holdfast.adapters.identity import (  # noqa: PLC0415 - as above
        Ed25519Verifier,
        FileTrustList,
        read_key_file,
    )

    return Identity(
        signer=read_key_file(settings.key_file),
        verifier=Ed25519Verifier(),
        trust=FileTrustList(settings.trust_file),
    )


class Container(containers.DeclarativeContainer):
    """The parts, by the name of their port.

    `retry_strategy` and `trip_policy` are asked once for each backend, with its name and guard, so that a tenacity
    composition or a pybreaker can take the place of the built-in rule.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> container = Container(settings=providers.Object(Settings()))
        >>> with container.clock.override(providers.Object(ManualClock(now_s=7.0))):
        ...     container.clock().monotonic_s()
        7.0
    """

    settings = providers.Dependency(instance_of=Settings)
    clock = providers.Singleton(SystemClock)
    unix_s = providers.Object(time.time)
    random = providers.Object(random.random)
    random_bytes = providers.Object(secrets.token_bytes)
    identity = providers.Factory(_identity, settings.provided.identity)
    retriever = providers.Factory(_open_retriever, settings.provided.retrieval, clock)
    backends = providers.Factory(_backends, settings, clock)
    host_memory = providers.Singleton(SystemMemory)
    retry_strategy = providers.Callable(_retry_strategy)
    trip_policy = providers.Callable(_trip_policy)
    session_store = providers.Factory(_open_session_store, settings.provided.sessions, clock)
    registry = providers.Factory(_registry, settings.provided.registry, clock)
    loaded = providers.Factory(_given, settings)
    parameter_store = providers.Factory(_parameter_store, settings.provided.parameters)
    shared_stores = providers.Factory(open_shared_stores, settings.provided.shared, clock)
    log_sink = providers.Singleton(_log_sink)
    telemetry = providers.Singleton(make_telemetry, settings.provided.telemetry)
    log = providers.Factory(open_log, settings.provided.telemetry)
    own_event_sinks = providers.Object[tuple[EventSink, ...]](())
    own_recorders = providers.Object[tuple[Recorder, ...]](())
    event_sinks = providers.Factory(
        _event_sinks, settings.provided.log_events, log_sink.provider, telemetry, own_event_sinks
    )
    recorders = providers.Callable(_recorders, telemetry, own_recorders)
    events = providers.Factory(EventHub, settings.provided.events, clock=clock, sinks=event_sinks)
    output_rules = providers.Factory(make_rules, settings.provided.validators)
    journal = providers.Factory(_open_journal)
    writer = providers.Factory(AtomicFileWriter, clock=clock)

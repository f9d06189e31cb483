"""Wiring: which adapter stands behind each port.

Responsibility: build every part once, from settings, and put the parts together into an orchestrator.
Guarantees: each provider is a port, so a test replaces one in one line
    (``container.clock.override(providers.Object(fake))``); it is asked while opening, never while requests run; an
    adapter's module is imported only when its provider is called.
Not responsible for: the order of the stages: see `holdfast.application.orchestrator`.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from dependency_injector import containers, providers

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.system.memory import SystemMemory
from holdfast.application.consistency import check_consistency, check_time_to_load
from holdfast.application.finishing import Finishing
from holdfast.application.orchestrator import Orchestrator, reply_size_bytes, reply_text
from holdfast.application.persona_desk import PersonaDesk
from holdfast.application.pipeline import Pipeline
from holdfast.application.prompt_settings import make_book, make_rules
from holdfast.application.reception import DoorConfig, Reception
from holdfast.application.route import Route
from holdfast.application.routing import FallbackRouter
from holdfast.application.settings import (
    ExtractiveSettings,
    GuardSettings,
    RetrievalSettings,
    ScriptedSettings,
    SessionSettings,
    Settings,
)
from holdfast.application.settings_sources import load_settings
from holdfast.domain.adaptive_limit import AdaptiveLimit
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.breaker_registry import BreakerRegistry
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.event_hub import EventHub
from holdfast.domain.hedge import Hedge, HedgeConfig
from holdfast.domain.host_guard import HostGuard
from holdfast.domain.memory_ceiling import MemoryCeiling
from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.output_judge import OutputJudge, OutputRule
from holdfast.domain.pool import AsyncResourcePool
from holdfast.domain.quality_gate import QualityGate
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.rate_trip_policy import RateTripPolicy
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.route_choice import RouteChoice
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.domain.slotted_backend import SlottedBackend
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.timeout import Timeout
from holdfast.domain.validation import require
from holdfast.ports.clock import Clock
from holdfast.ports.events import EventSink
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.journal import BatchLedger
from holdfast.ports.model import HostMemory, ModelLoader
from holdfast.ports.resource import ResourceProvider
from holdfast.ports.retrieval import Retriever
from holdfast.ports.retry import RetryStrategy
from holdfast.ports.service import Reply
from holdfast.ports.session import SessionStore
from holdfast.ports.trip import TripPolicy

__all__ = ["Backend", "Container", "Model", "open_container", "open_orchestrator"]


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


def _open_retriever(settings: RetrievalSettings, clock: Clock) -> AbstractAsyncContextManager[Retriever | None]:
    if settings.folder is None:
        return nullcontext()
    from holdfast.adapters.sqlite.fts_retriever import FtsRetriever  # noqa: PLC0415 - loaded when it is chosen

    return FtsRetriever(settings.folder, include=settings.include, index=settings.index, clock=clock)


def _backends(settings: Settings, clock: Clock) -> dict[str, Backend | Model]:
    return {
        name: _backend(name, chosen, chosen.guard or settings.guard, clock)
        for name, chosen in settings.backends.items()
    }


def _backend(
    name: str, chosen: ExtractiveSettings | ScriptedSettings, guard: GuardSettings, clock: Clock
) -> Backend | Model:
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
        case _:
            assert_never(chosen)


def _provider(backend: Backend | Model, slots: ModelSlots) -> ResourceProvider[InferenceBackend]:
    match backend:
        case Backend():
            return backend.provider
        case Model():
            return SharedBackendProvider(SlottedBackend(backend.loader, slots))
        case _:
            assert_never(backend)


def _open_session_store(settings: SessionSettings, clock: Clock) -> AbstractAsyncContextManager[SessionStore]:
    if settings.database is None:
        return nullcontext(MemorySessions(clock=clock))
    from holdfast.adapters.sqlite.sessions import SqliteSessions  # noqa: PLC0415 - as above

    return SqliteSessions(settings.database, clock=clock)


def _open_journal(path: Path) -> BatchLedger:
    from holdfast.adapters.sqlite.journal import SqliteJournal  # noqa: PLC0415 - as above

    return SqliteJournal(path)


def _retry_strategy(name: str, guard: GuardSettings) -> RetryStrategy:
    del name  # for those who override this provider
    return guard.retry


def _trip_policy(name: str, guard: GuardSettings) -> TripPolicy:
    del name  # as above
    return RateTripPolicy(guard.breaker)


def _event_sinks(log_events: bool) -> tuple[EventSink, ...]:  # noqa: FBT001 - called by the container only
    if not log_events:
        return ()
    from holdfast.adapters.logging import LoggingEventSink  # noqa: PLC0415 - as above

    return (LoggingEventSink(),)


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
    random = providers.Object(random.random)
    retriever = providers.Factory(_open_retriever, settings.provided.retrieval, clock)
    backends = providers.Factory(_backends, settings, clock)
    host_memory = providers.Singleton(SystemMemory)
    retry_strategy = providers.Callable(_retry_strategy)
    trip_policy = providers.Callable(_trip_policy)
    session_store = providers.Factory(_open_session_store, settings.provided.sessions, clock)
    event_sinks = providers.Factory(_event_sinks, settings.provided.log_events)
    events = providers.Factory(EventHub, settings.provided.events, clock=clock, sinks=event_sinks)
    output_rules = providers.Factory(make_rules, settings.provided.validators)
    journal = providers.Factory(_open_journal)
    writer = providers.Factory(AtomicFileWriter, clock=clock)


@asynccontextmanager
async def open_orchestrator(
    settings: Settings | None = None,
    *,
    backends: Mapping[str, InferenceBackend] | None = None,
    models: Mapping[str, ModelLoader] | None = None,
    event_sinks: Sequence[EventSink] = (),
) -> AsyncGenerator[Orchestrator]:
    """Open everything that a request meets, and close it again in reverse order.

    Args:
        settings: what to build; None reads the usual sources.
        backends: your own backends by name, in the order in which they are tried, in place of those in the settings.
            Each serves concurrent calls, and is guarded by ``settings.guard``.
        models: your own backends that have to be loaded first, by name, tried after `backends` and likewise in place of
            those in the settings. ``settings.models`` says how many of them are in memory at once.
        event_sinks: your own, told of every event besides those in the settings.

    Raises:
        ConfigurationError: a setting is wrong.

    Cancellation: on the way out, running requests are cancelled and every resource is closed.
    """
    chosen = load_settings().settings if settings is None else settings
    container = Container(settings=providers.Object(chosen))
    if backends is not None or models is not None:
        own = _own(backends or {}, models or {}, chosen.guard)
        container.backends.override(providers.Object(own))  # pyright: ignore[reportUnknownMemberType] - not typed there
    if event_sinks:
        every = providers.Object((*container.event_sinks(), *event_sinks))
        container.event_sinks.override(every)  # pyright: ignore[reportUnknownMemberType] - as above
    async with open_container(container) as orchestrator:
        yield orchestrator


def _own(
    backends: Mapping[str, InferenceBackend], models: Mapping[str, ModelLoader], guard: GuardSettings
) -> dict[str, Backend | Model]:
    require(bool(backends or models), "give at least one backend", path="backends")
    twice = sorted(backends.keys() & models.keys())
    require(not twice, f"{twice} are names in backends as well; give each one name", path="models")
    own: dict[str, Backend | Model] = {
        name: Backend(provider=SharedBackendProvider(backend), guard=guard) for name, backend in backends.items()
    }
    return own | {name: Model(loader=loader, guard=guard) for name, loader in models.items()}


@asynccontextmanager
async def open_container(container: Container) -> AsyncGenerator[Orchestrator]:
    """Open the orchestrator that `container` describes, as `open_orchestrator` does.

    For those who replace a port: override its provider first.
    """
    settings: Settings = container.settings()
    clock: Clock = container.clock()
    chance: Callable[[], float] = container.random()
    events: EventHub = container.events()
    backends: Mapping[str, Backend | Model] = container.backends()
    check_consistency(settings, backends=backends)
    if any(isinstance(backend, Model) and backend.guard is settings.guard for backend in backends.values()):
        check_time_to_load(settings.guard, settings.models, path="guard")
    memory: HostMemory = container.host_memory()
    book = make_book(settings.prompts, settings.personas)
    rules: Sequence[OutputRule] = container.output_rules()

    budgets = {name: RetryBudget(backend.guard.retry_budget, clock=clock) for name, backend in backends.items()}

    def make_breaker(name: str) -> CircuitBreaker:
        guard = backends[name].guard
        policy = container.trip_policy(name, guard)
        return CircuitBreaker(name, guard.breaker, clock=clock, random=chance, trip_policy=policy, events=events)

    def make_rate_limit(name: str, config: RateLimitConfig | None) -> RateLimit | None:
        return None if config is None else RateLimit(f"backend {name!r}", config, clock=clock, events=events)

    def make_hedge(name: str, config: HedgeConfig | None) -> Hedge | None:
        return None if config is None else Hedge(name, config, budget=budgets[name], clock=clock, events=events)

    async with AsyncExitStack() as stack:
        retriever = await stack.enter_async_context(container.retriever())
        models = await stack.enter_async_context(
            ModelSlots(settings.models, guard=HostGuard(memory, settings.host_guard), clock=clock, events=events)
        )
        breakers = BreakerRegistry(make_breaker)
        routes = [
            Route(
                retry=Retry(
                    container.retry_strategy(name, backend.guard),
                    clock=clock,
                    random=chance,
                    budget=budgets[name],
                    events=events,
                    name=name,
                ),
                hedge=make_hedge(name, backend.guard.hedge),
                budget=budgets[name],
                breaker=breakers.get(name),
                rate_limit=make_rate_limit(name, backend.guard.rate_limit),
                timeout=Timeout(backend.guard.attempt_timeout_s),
                stream_timeout=StreamTimeout(
                    first_s=backend.guard.attempt_timeout_s, idle_s=backend.guard.stream_idle_timeout_s
                ),
                pool=await stack.enter_async_context(
                    AsyncResourcePool(
                        name,
                        _provider(backend, models),
                        backend.guard.pool,
                        clock=clock,
                        random=chance,
                        events=events,
                    )
                ),
            )
            for name, backend in backends.items()
        ]
        deduplicator = await stack.enter_async_context(
            Deduplicator[Reply](settings.deduplication, clock=clock, size_of=reply_size_bytes, events=events)
        )
        streams = await stack.enter_async_context(
            SharedStreams(settings.streaming, shared=deduplicator, text_of=reply_text, clock=clock, events=events)
        )
        router = FallbackRouter(
            routes, choice=RouteChoice(list(backends), settings.routing, clock=clock, random=chance), events=events
        )
        admission = AdmissionQueue(
            settings.admission,
            limit=ConcurrencyLimit(settings.max_in_flight),
            clock=clock,
            adaptive=(
                None if settings.adaptive_limit is None else AdaptiveLimit(settings.adaptive_limit, events=events)
            ),
            events=events,
        )
        tenants = TenantLimits(
            settings.tenant_rate_limit,
            {name: tenant.rate_limit for name, tenant in settings.tenants.items()},
            clock=clock,
            events=events,
        )
        sessions = SessionKeeper(
            await stack.enter_async_context(container.session_store()),
            settings.sessions,
            make_token=secrets.token_urlsafe,
            events=events,
        )
        ceiling = MemoryCeiling(settings.max_memory_bytes, clock=clock, events=events)
        ceiling.add_holder("answers", lambda: deduplicator.kept_bytes, free=deduplicator.free)
        if settings.sessions.database is None:
            ceiling.add_holder("sessions", lambda: sessions.size_bytes)
        reserved = {name: persona.validators for name, persona in settings.personas.items()}
        finishing = Finishing(QualityGate(OutputJudge(rules, reserved=reserved), events=events) if rules else None)
        pipeline = Pipeline(
            router=router,
            retriever=retriever,
            tenants=tenants,
            admission=admission,
            sessions=sessions,
            finishing=finishing,
            max_passages=settings.retrieval.limit,
            instance=secrets.token_hex(8),
            clock=clock,
        )
        yield Orchestrator(
            pipeline=pipeline,
            router=router,
            tenants=tenants,
            admission=admission,
            deduplicator=deduplicator,
            streams=streams,
            reception=Reception(
                DoorConfig(timeout_s=settings.timeout_s, max_request_bytes=settings.max_request_bytes),
                memory=ceiling,
                clock=clock,
                events=events,
            ),
            personas=PersonaDesk(book, events=events),
            sessions=sessions,
            memory=ceiling,
            models=models,
            events=events,
            clock=clock,
        )

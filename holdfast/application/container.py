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
import time
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
from holdfast.application.authenticated_service import Identity
from holdfast.application.consistency import check_consistency
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
    IdentitySettings,
    RetrievalSettings,
    ScriptedSettings,
    SessionSettings,
    Settings,
    load_settings,
)
from holdfast.domain.adaptive_limit import AdaptiveLimit
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.breaker_registry import BreakerRegistry
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.event_hub import EventHub
from holdfast.domain.hedge import Hedge, HedgeConfig
from holdfast.domain.output_judge import OutputJudge, OutputRule
from holdfast.domain.pool import AsyncResourcePool
from holdfast.domain.quality_gate import QualityGate
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.rate_trip_policy import RateTripPolicy
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.route_choice import RouteChoice
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.timeout import Timeout
from holdfast.domain.validation import require
from holdfast.ports.clock import Clock
from holdfast.ports.events import EventSink
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.journal import BatchLedger
from holdfast.ports.resource import ResourceProvider
from holdfast.ports.retrieval import Retriever
from holdfast.ports.retry import RetryStrategy
from holdfast.ports.service import Reply
from holdfast.ports.session import SessionStore
from holdfast.ports.trip import TripPolicy

__all__ = ["Backend", "Container", "make_container", "open_container", "open_orchestrator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend to be guarded.

    Args:
        provider: where its instances come from.
        guard: what stands around it.
    """

    provider: ResourceProvider[InferenceBackend]
    guard: GuardSettings


def _open_retriever(settings: RetrievalSettings, clock: Clock) -> AbstractAsyncContextManager[Retriever | None]:
    if settings.folder is None:
        return nullcontext()
    from holdfast.adapters.sqlite.fts_retriever import FtsRetriever  # noqa: PLC0415 - loaded when it is chosen

    return FtsRetriever(settings.folder, include=settings.include, index=settings.index, clock=clock)


def _backends(settings: Settings, clock: Clock) -> dict[str, Backend]:
    return {
        name: Backend(provider=_provider(name, chosen, clock), guard=chosen.guard or settings.guard)
        for name, chosen in settings.backends.items()
    }


def _provider(
    name: str, chosen: ExtractiveSettings | ScriptedSettings, clock: Clock
) -> ResourceProvider[InferenceBackend]:
    match chosen:
        case ExtractiveSettings():
            from holdfast.adapters.inference.extractive import ExtractiveBackend  # noqa: PLC0415 - as above

            return SharedBackendProvider(ExtractiveBackend(name))
        case ScriptedSettings():
            from holdfast.application.drill import scripted_backend  # noqa: PLC0415 - as above

            return SharedBackendProvider(scripted_backend(name, chosen, clock=clock))
        case _:
            assert_never(chosen)


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
    event_sinks: Sequence[EventSink] = (),
) -> AsyncGenerator[Orchestrator]:
    """Open everything that a request meets, and close it again in reverse order.

    Args:
        settings: what to build; None reads the usual sources.
        backends: your own backends by name, in the order in which they are tried, in place of those in the settings.
            Each serves concurrent calls, and is guarded by ``settings.guard``.
        event_sinks: your own, told of every event besides those in the settings.

    Raises:
        ConfigurationError: a setting is wrong.

    Cancellation: on the way out, running requests are cancelled and every resource is closed.
    """
    container = make_container(settings, backends=backends, event_sinks=event_sinks)
    async with open_container(container) as orchestrator:
        yield orchestrator


def make_container(
    settings: Settings | None = None,
    *,
    backends: Mapping[str, InferenceBackend] | None = None,
    event_sinks: Sequence[EventSink] = (),
) -> Container:
    """Return the container of which `open_orchestrator` opens one.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    chosen = load_settings().settings if settings is None else settings
    container = Container(settings=providers.Object(chosen))
    if backends is not None:
        require(bool(backends), "give at least one backend", path="backends")
        own = {name: Backend(provider=SharedBackendProvider(backends[name]), guard=chosen.guard) for name in backends}
        container.backends.override(providers.Object(own))  # pyright: ignore[reportUnknownMemberType] - not typed there
    if event_sinks:
        every = providers.Object((*container.event_sinks(), *event_sinks))
        container.event_sinks.override(every)  # pyright: ignore[reportUnknownMemberType] - as above
    return container


@asynccontextmanager
async def open_container(container: Container) -> AsyncGenerator[Orchestrator]:
    """Open the orchestrator that `container` describes, as `open_orchestrator` does.

    For those who replace a port: override its provider first.
    """
    settings: Settings = container.settings()
    clock: Clock = container.clock()
    chance: Callable[[], float] = container.random()
    events: EventHub = container.events()
    backends: Mapping[str, Backend] = container.backends()
    check_consistency(settings, backends=backends)
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
                        name, backend.provider, backend.guard.pool, clock=clock, random=chance, events=events
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
                clock=clock,
                events=events,
            ),
            personas=PersonaDesk(book, events=events),
            sessions=sessions,
            events=events,
            clock=clock,
        )

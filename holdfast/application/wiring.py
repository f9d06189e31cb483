"""Putting the parts together.

Responsibility: build every part once and open what has to be opened, in order; close it again in reverse.
Guarantees: the container is asked while opening, never while requests run; settings that contradict each other are
    refused before anything is opened.
Not responsible for: which adapter is chosen: see `holdfast.application.container`; the order of the stages: see
    `holdfast.application.orchestrator` and `holdfast.application.pipeline`.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import cast

from anyio.lowlevel import checkpoint
from dependency_injector import providers

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.application.consistency import check_consistency, check_time_to_load
from holdfast.application.container import Backend, Container, Discovered, Model, Registry
from holdfast.application.finishing import Finishing
from holdfast.application.live_parts import LiveStages, door_of, limits_by_name
from holdfast.application.live_routes import LiveRoutes
from holdfast.application.live_settings import LiveSettings
from holdfast.application.orchestrator import Orchestrator, is_fresh, reply_size_bytes, reply_text
from holdfast.application.persona_desk import PersonaDesk
from holdfast.application.pipeline import Pipeline
from holdfast.application.prompt_settings import make_book
from holdfast.application.reception import Reception
from holdfast.application.recorders import Recorders
from holdfast.application.route_maker import RouteMaker
from holdfast.application.routing import FallbackRouter
from holdfast.application.session_desk import SessionDesk
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.application.settings_watch import SettingsWatch, read_parameters
from holdfast.application.shared_parts import SharedParts
from holdfast.domain.adaptive_limit import AdaptiveLimit
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.blocking_query import QueryConfig
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.discovery import Discovery
from holdfast.domain.event_hub import EventHub
from holdfast.domain.host_guard import HostGuard
from holdfast.domain.memory_ceiling import MemoryCeiling
from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.output_judge import OutputJudge, OutputRule
from holdfast.domain.quality_gate import QualityGate
from holdfast.domain.registration import Registration
from holdfast.domain.route_choice import RouteChoice
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.validation import require
from holdfast.ports.clock import Clock
from holdfast.ports.events import EventSink
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader
from holdfast.ports.parameters import ParameterStore
from holdfast.ports.service import Reply
from holdfast.ports.telemetry import Recorder

__all__ = ["make_container", "open_container", "open_orchestrator", "open_with_events"]


@asynccontextmanager
async def open_orchestrator(
    settings: Settings | None = None,
    *,
    backends: Mapping[str, InferenceBackend] | None = None,
    models: Mapping[str, ModelLoader] | None = None,
    event_sinks: Sequence[EventSink] = (),
    recorders: Sequence[Recorder] = (),
) -> AsyncGenerator[Orchestrator]:
    """Open everything that a request meets for the length of an ``async with`` block.

    Args:
        settings: what to build; None reads the usual sources.
        backends: your own backends by name, in the order in which they are tried, in place of those in the settings.
            Each serves concurrent calls, and is guarded by ``settings.guard``.
        models: your own backends that have to be loaded first, by name, tried after `backends` and likewise in place of
            those in the settings. ``settings.models`` says how many of them are in memory at once.
        event_sinks: your own, told of every event besides those in the settings.
        recorders: your own, which follow every request and attempt after those in the settings.

    Raises:
        ConfigurationError: a setting is wrong.

    Cancellation: on the way out nobody is let in any more, running requests are cancelled and all resources closed.
    """
    container = make_container(settings, backends=backends, models=models, event_sinks=event_sinks, recorders=recorders)
    async with open_container(container) as orchestrator:
        yield orchestrator


def make_container(
    settings: Settings | None = None,
    *,
    backends: Mapping[str, InferenceBackend] | None = None,
    models: Mapping[str, ModelLoader] | None = None,
    event_sinks: Sequence[EventSink] = (),
    recorders: Sequence[Recorder] = (),
) -> Container:
    """Return the container of which `open_orchestrator` opens one.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    loaded = load_settings() if settings is None else LoadedSettings(settings=settings, sources={})
    chosen = loaded.settings
    container = Container(settings=providers.Object(chosen))
    container.loaded.override(providers.Object(loaded))  # pyright: ignore[reportUnknownMemberType] - not typed there
    if backends is not None or models is not None:
        own = _own(backends or {}, models or {}, chosen.guard)
        container.backends.override(providers.Object(own))  # pyright: ignore[reportUnknownMemberType] - not typed there
    container.own_event_sinks.override(providers.Object(tuple(event_sinks)))  # pyright: ignore[reportUnknownMemberType] - as above
    container.own_recorders.override(providers.Object(tuple(recorders)))  # pyright: ignore[reportUnknownMemberType] - as above
    return container


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
async def open_container(
    container: Container, *, reachable: Callable[[], Awaitable[None]] | None = checkpoint
) -> AsyncGenerator[Orchestrator]:
    """Open the orchestrator that `container` describes, as `open_orchestrator` does.

    For those who replace a port: override its provider first.

    Args:
        container: asked once for each part.
        reachable: returns once others can reach this process; it is registered from then on, as what
            `registry.registration` says. The default returns at once. None where nobody can reach it: it would take
            the place of who can be reached there, and take it along on leaving.
    """
    async with open_with_events(container, reachable=reachable) as (orchestrator, _):
        yield orchestrator


@asynccontextmanager
async def open_with_events(
    container: Container, *, reachable: Callable[[], Awaitable[None]] | None = checkpoint
) -> AsyncGenerator[tuple[Orchestrator, EventHub]]:
    """Open the same, and give beside it the hub that all of it tells, for what is put around it."""
    without_parameters: Settings = container.settings()
    async with AsyncExitStack() as stack:
        parameters: ParameterStore | None = container.parameter_store()
        if parameters is not None:
            stack.enter_context(await _with_parameters(container, parameters))
        parts = _Parts(container, without_parameters)
        settings, clock, events = parts.settings, parts.clock, parts.events
        if settings.log_events and not without_parameters.log_events:  # sinks of one's own are beside those without it
            events.remove(container.log_sink())
            events.add(container.log_sink())
        stack.enter_context(container.log())
        retriever = await stack.enter_async_context(container.retriever())
        models = await stack.enter_async_context(parts.model_slots())
        stores = await stack.enter_async_context(container.shared_stores())
        shared = SharedParts(stores, clock=clock, random=parts.random, events=events)
        routes = RouteMaker(
            container,
            live=parts.live,
            shared=shared,
            models=models,
            recorder=parts.recorder,
            clock=clock,
            random=parts.random,
            events=events,
        )
        router = await parts.open_router(stack, routes)
        discoveries = await parts.open_discoveries(stack, router, routes)
        instance = secrets.token_hex(8)
        answers = shared.answers(window_s=settings.deduplication.window_s, instance=instance)
        if answers is not None:
            await stack.enter_async_context(answers)
        deduplicator = await stack.enter_async_context(
            Deduplicator[Reply](
                settings.deduplication, clock=clock, size_of=reply_size_bytes, keeps=is_fresh, events=events
            )
        )
        streams = await stack.enter_async_context(
            SharedStreams(settings.streaming, shared=deduplicator, text_of=reply_text, clock=clock, events=events)
        )
        store = shared.sessions
        if store is None:
            store = await stack.enter_async_context(container.session_store())
        sessions = SessionKeeper(store, settings.sessions, make_token=secrets.token_urlsafe, events=events)
        memory = MemoryCeiling(settings.max_memory_bytes, clock=clock, events=events)
        memory.add_holder("answers", lambda: deduplicator.kept_bytes, free=deduplicator.free)
        memory.add_holder("streams", lambda: streams.size_bytes)
        if settings.sessions.database is None and shared.sessions is None:
            memory.add_holder("sessions", lambda: sessions.size_bytes)
        if shared.link is not None:
            await stack.enter_async_context(shared.link)  # last, so that it knows all that is kept there
        admission, tenants = parts.admission(), parts.tenants(shared.rates)
        pipeline = Pipeline(
            router=router,
            retriever=retriever,
            tenants=tenants,
            admission=admission,
            sessions=sessions,
            finishing=parts.finishing(),
            max_passages=settings.retrieval.limit,
            instance=instance,
            clock=clock,
        )
        reception = Reception(door_of(settings), memory=memory, clock=clock, events=events, recorder=parts.recorder)
        stages = LiveStages(
            settings=settings,
            reception=reception,
            pipeline=pipeline,
            admission=admission,
            tenants=tenants,
            events=events,
            make_log_sink=container.log_sink,
        )
        stack.enter_context(parts.live.followed_by(stages.change_to))
        watch = await parts.open_watch(stack, parameters)
        stack.callback(reception.shut)
        # Last, when everything that others are promised is there.
        registration = None if reachable is None else await parts.open_registration(stack, reachable)
        orchestrator = Orchestrator(
            pipeline=pipeline,
            router=router,
            tenants=tenants,
            admission=admission,
            deduplicator=deduplicator,
            streams=streams,
            reception=reception,
            personas=PersonaDesk(parts.book, events=events),
            sessions=sessions,
            session_desk=SessionDesk(sessions, book=parts.book, tenants=tenants, reception=reception),
            memory=memory,
            models=models,
            registration=registration,
            discoveries=discoveries,
            parameters=watch,
            shared=shared.link,
            answers=answers,
            rates=shared.rates,
            budgets=shared.budgets,
            events=events,
            clock=clock,
        )
        yield orchestrator, events


async def _with_parameters(container: Container, store: ParameterStore) -> AbstractContextManager[object]:
    """Return what lets the settings be those with the parameters, for the length of a ``with`` block."""
    loaded: LoadedSettings = container.loaded()
    chosen = loaded.settings.parameters
    timeout_s, required = (QueryConfig().slack_s, False) if chosen is None else (chosen.query.slack_s, chosen.required)
    loaded = await read_parameters(loaded, store, timeout_s=timeout_s, required=required)
    overriding = ExitStack()
    for provider, value in ((container.settings, loaded.settings), (container.loaded, loaded)):
        overridden = cast("AbstractContextManager[object]", provider.override(providers.Object(value)))  # pyright: ignore[reportUnknownMemberType] - as above
        overriding.enter_context(overridden)
    return overriding


class _Parts:
    """Makes the parts of one orchestrator.

    Args:
        container: asked at once for what is checked before anything is opened.
        without_parameters: the settings from the other sources, by which backends of one's own were guarded.

    Raises:
        ConfigurationError: settings contradict each other.
    """

    def __init__(self, container: Container, without_parameters: Settings) -> None:
        self.settings: Settings = container.settings()
        self.live = LiveSettings(self.settings, without_parameters=without_parameters)
        self.clock: Clock = container.clock()
        self.events: EventHub = container.events()
        recorders: Sequence[Recorder] = container.recorders()
        self.recorder = Recorders(recorders) if recorders else None
        self._container = container
        self.random: Callable[[], float] = container.random()
        self._backends: Mapping[str, Backend | Model | Discovered] = container.backends()
        self._registry: Registry | None = container.registry()
        check_consistency(self.settings, backends=self._backends)
        commons = (self.settings.guard, without_parameters.guard)
        models = (backend for backend in self._backends.values() if isinstance(backend, Model))
        if any(model.guard is common for model in models for common in commons):
            check_time_to_load(self.settings.guard, self.settings.models, path="guard")
        for name, backend in self._backends.items():
            require(
                not isinstance(backend, Discovered) or self._registry is not None,
                "is to be discovered, and there is nobody to ask; set registry.kind",
                path=f"backends.{name}",
            )
        self.book = make_book(self.settings.prompts, self.settings.personas)
        self._rules: Sequence[OutputRule] = container.output_rules()

    def model_slots(self) -> ModelSlots:
        settings = self.settings
        guard = HostGuard(self._container.host_memory(), settings.host_guard)
        return ModelSlots(settings.models, guard=guard, clock=self.clock, events=self.events)

    async def open_router(self, stack: AsyncExitStack, routes: RouteMaker) -> FallbackRouter:
        opened = [
            await stack.enter_async_context(routes.open_route(name, backend))
            for name, backend in self._backends.items()
            if not isinstance(backend, Discovered)
        ]
        choice = RouteChoice(
            list(self._backends),
            self.settings.routing,
            discovered=[name for name, backend in self._backends.items() if isinstance(backend, Discovered)],
            clock=self.clock,
            random=self.random,
        )
        return FallbackRouter(opened, choice=choice, events=self.events)

    async def open_discoveries(
        self, stack: AsyncExitStack, router: FallbackRouter, routes: RouteMaker
    ) -> Sequence[Discovery] | None:
        if self._registry is None:
            return None
        discoveries: list[Discovery] = []
        for name, backend in self._backends.items():
            if isinstance(backend, Discovered):
                live = LiveRoutes(name, partial(routes.open_instance, name, backend), router=router, events=self.events)
                await stack.enter_async_context(live)
                discovery = Discovery(
                    self._registry.services,
                    backend.service,
                    live,
                    self._registry.discovery,
                    clock=self.clock,
                    random=self.random,
                    events=self.events,
                )
                discoveries.append(await stack.enter_async_context(discovery))
                await live.wait_opened()
        return discoveries

    async def open_watch(self, stack: AsyncExitStack, store: ParameterStore | None) -> SettingsWatch | None:
        if store is None:
            return None
        chosen = self.settings.parameters
        watch = SettingsWatch(
            self._container.loaded(),
            store,
            self.live,
            backends=self._backends,
            config=QueryConfig() if chosen is None else chosen.query,
            clock=self.clock,
            random=self.random,
            events=self.events,
        )
        return await stack.enter_async_context(watch)

    async def open_registration(
        self, stack: AsyncExitStack, reachable: Callable[[], Awaitable[None]]
    ) -> Registration | None:
        registry = self._registry
        if registry is None or registry.instance is None:
            return None
        registration = Registration(
            registry.services,
            registry.instance,
            registry.registration,
            reachable=reachable,
            clock=self.clock,
            random=self.random,
            events=self.events,
        )
        return await stack.enter_async_context(registration)

    def admission(self) -> AdmissionQueue:
        adaptive = self.settings.adaptive_limit
        return AdmissionQueue(
            self.settings.admission,
            limit=ConcurrencyLimit(self.settings.max_in_flight),
            clock=self.clock,
            adaptive=None if adaptive is None else AdaptiveLimit(adaptive, events=self.events),
            events=self.events,
        )

    def tenants(self, rates: SharedRates | None) -> TenantLimits:
        named = limits_by_name(self.settings)
        return TenantLimits(self.settings.tenant_rate_limit, named, clock=self.clock, events=self.events, shared=rates)

    def finishing(self) -> Finishing:
        reserved = {name: persona.validators for name, persona in self.settings.personas.items()}
        judge = OutputJudge(self._rules, reserved=reserved)
        return Finishing(QualityGate(judge, events=self.events) if self._rules else None)

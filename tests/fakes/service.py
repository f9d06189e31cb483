"""The whole wired path in virtual time over backends that a test makes up, and what must hold once it is at rest."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any, Final, TypeVar

import anyio
from dependency_injector import providers

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.application.container import Backend, Container, Discovered, Model
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.wiring import open_container
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.events import Event
from holdfast.ports.inference import Completion, InferenceBackend, Message, Prompt, Role, Usage
from holdfast.ports.retrieval import Passage, Retriever
from holdfast.ports.service import Request
from holdfast.ports.statistics import (
    AdmissionStatistics,
    BackendHealth,
    BufferStatistics,
    DeduplicationStatistics,
    Health,
    HedgeStatistics,
    ModelSlotStatistics,
    OutputStatistics,
    RateLimitStatistics,
    RegistryStatistics,
    SharedAnswerStatistics,
    TenantLimitStatistics,
)
from holdfast.testing import VirtualClock

__all__ = ["ONCE", "Answering", "Shelf", "ask", "ask_anew", "assert_nothing_is_held", "opened", "told", "unavailable"]

E = TypeVar("E", bound=Event)

ONCE: Final = GuardSettings(retry=RetryPolicy(max_attempts=1))
"""Guards a backend that is asked only once for each request."""


class Answering:
    """Answers after a delay, or then raises what `failing` gives; keeps its prompts.

    Delay and text may be said for each call, by its number from 1 on. All may be changed while requests run.
    """

    def __init__(
        self,
        *,
        delay_s: float | Callable[[int], float] = 0.0,
        text: str | Callable[[int], str] = "42",
        usage: Usage = Usage(),
        failing: Callable[[int], Exception | None] = lambda call: None,
    ) -> None:
        self.delay_s = delay_s
        self.text = text
        self.usage = usage
        self.failing = failing
        self.prompts: list[Prompt] = []
        self.running = 0

    @property
    def calls(self) -> int:
        return len(self.prompts)

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        number = self.calls
        self.running += 1
        try:
            await anyio.sleep(self.delay_s(number) if callable(self.delay_s) else self.delay_s)
        finally:
            self.running -= 1
        if (error := self.failing(number)) is not None:
            raise error
        text = self.text(number) if callable(self.text) else self.text
        return Completion(text=text, model="answering-1", usage=self.usage)


class Shelf:
    """Finds one passage, which is the query itself, after a delay; keeps its queries."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self.queries: list[str] = []

    async def retrieve(self, query: str, *, limit: int) -> tuple[Passage, ...]:
        self.queries.append(query)
        await anyio.sleep(self._delay_s)
        return (Passage(source="a.md", heading="A", text=query, score=1.0),)[:limit]


def ask(question: str = "what is the answer?", **more: Any) -> Request:  # noqa: ANN401 - any field of a request
    return replace(Request(messages=(Message(role=Role.USER, content=question),)), **more)


_numbers = itertools.count()


def ask_anew(**more: Any) -> Request:  # noqa: ANN401 - as above
    """Return a question that nobody has asked before."""
    return ask(f"question {next(_numbers)}", **more)


def unavailable(_: int = 0) -> Exception:
    return BackendUnavailableError("is down", backend="down")


def told(service: Orchestrator, *kinds: type[E]) -> list[E]:
    """Return the events of these kinds that the service still remembers."""
    return [recorded.event for recorded in service.events if isinstance(recorded.event, kinds)]


@asynccontextmanager
async def opened(
    backends: Mapping[str, InferenceBackend | Backend | Model | Discovered],
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    random: Callable[[], float] = lambda: 0.5,
    retriever: Retriever | None = None,
    **parts: object,
) -> AsyncGenerator[Orchestrator]:
    """Open the whole path over `backends`, guarded as the settings say unless one brings its own guard.

    `parts` are any others of the container, by their names.
    """
    settings = settings or Settings()
    container = Container(settings=providers.Object(settings))
    parts |= {"clock": clock or VirtualClock(), "random": random, "retriever": nullcontext(retriever)}
    parts["backends"] = {
        name: backend
        if isinstance(backend, Backend | Model | Discovered)
        else Backend(provider=SharedBackendProvider(backend), guard=settings.guard)
        for name, backend in backends.items()
    }
    for name, part in parts.items():
        getattr(container, name).override(providers.Object(part))
    async with open_container(container) as service:
        yield service


def assert_nothing_is_held(health: Health) -> None:
    """Assert that every count of what is going on is back at zero, and that what was counted adds up."""
    requests, streams, sessions, memory = health.requests, health.streams, health.sessions, health.memory
    ended = requests.answered + requests.invalid + requests.refused + requests.expired
    assert requests.in_flight == 0
    assert requests.received == ended + requests.failed + requests.cancelled
    assert (streams.reading, streams.logs, streams.log_bytes) == (0, 0, 0)
    assert streams.opened == streams.called + streams.joined + streams.cached
    assert streams.opened == streams.completed + streams.failed + streams.left
    assert sessions.created == sessions.sessions + sessions.expired + sessions.evicted + sessions.deleted
    assert (memory.holding, memory.held_bytes) == (0, 0)
    assert memory.granted == memory.released
    assert memory.used_bytes == sum(memory.kept_bytes.values())
    assert health.events.emitted == health.events.buffer.appended + health.events.buffer.refused
    assert health.events.emitted == sum(health.events.counts.values())
    _assert_buffer_adds_up(health.latency.buffer)
    _assert_buffer_adds_up(health.events.buffer)
    _assert_limit_at_rest(health.tenants)
    assert health.tenants.crowded_out <= health.tenants.refused
    _assert_admission_at_rest(health.admission)
    _assert_deduplication_at_rest(health.deduplication)
    _assert_models_at_rest(health.models)
    if health.registry is not None:
        _assert_registry_adds_up(health.registry)
    if health.output is not None:
        _assert_output_at_rest(health.output)
    if health.shared_answers is not None:
        _assert_shared_answers_at_rest(health.shared_answers)
    for backend in health.backends:
        _assert_backend_at_rest(backend)


def _assert_buffer_adds_up(buffer: BufferStatistics) -> None:
    left = buffer.evicted + buffer.taken + buffer.cleared + buffer.rolled_back
    assert buffer.appended + buffer.restored == buffer.items + left


def _assert_limit_at_rest(limit: RateLimitStatistics | TenantLimitStatistics) -> None:
    assert limit.reserved == 0
    assert limit.asked == limit.refused + limit.settled + limit.cancelled


def _assert_admission_at_rest(admission: AdmissionStatistics) -> None:
    assert (admission.waiting, admission.waiting_bytes, admission.waiting_tokens) == (0, 0, 0)
    assert (admission.waiting_tenants, admission.overloaded, admission.limit.in_flight) == (0, 0, 0)
    ended = admission.granted + admission.refused + admission.shed + admission.expired + admission.cancelled
    assert admission.offered == ended


def _assert_deduplication_at_rest(deduplication: DeduplicationStatistics) -> None:
    dropped = deduplication.expired + deduplication.evicted + deduplication.oversized + deduplication.unkept
    assert deduplication.in_flight == 0
    assert deduplication.requests == deduplication.called + deduplication.joined + deduplication.cached
    assert deduplication.called == deduplication.completed + deduplication.failed + deduplication.abandoned
    assert deduplication.completed == deduplication.entries + dropped


def _assert_shared_answers_at_rest(answers: SharedAnswerStatistics) -> None:
    shared = answers.found + answers.joined + answers.failed
    assert (answers.waiting, answers.holding) == (0, 0)
    assert answers.asked == answers.led + answers.alone + shared + answers.left
    assert answers.led == answers.told + answers.released + answers.fenced + answers.unsaid
    assert answers.taken_over <= answers.led


def _assert_models_at_rest(models: ModelSlotStatistics) -> None:
    assert (models.using, models.waiting, models.loading, models.unloading) == (0, 0, 0, 0)
    assert models.loaded <= models.max_loaded
    assert models.asked == models.granted + models.refused + models.failed + models.cancelled
    assert models.begun == models.loads + models.failed_loads + models.cancelled_loads
    assert models.loads == models.loaded + models.unloads
    assert models.failed_unloads <= models.unloads


def _assert_output_at_rest(output: OutputStatistics) -> None:
    assert output.in_repair == 0
    assert output.answers == output.passed + output.marked + output.rejected + output.failed + output.abandoned
    assert output.repaired <= output.passed + output.marked


def _assert_registry_adds_up(registry: RegistryStatistics) -> None:
    own = registry.registration
    if own is not None:
        kept = own.registered + own.refreshed + own.forgotten + own.deregistered
        assert own.called == own.calling + kept + own.failed + own.cancelled
        assert own.calling <= 1
    for discovery in registry.discoveries:
        query = discovery.query
        assert discovery.appeared == discovery.instances + discovery.vanished
        assert query.asked == query.asking + query.changed + query.unchanged + query.failed + query.cancelled
        assert query.asking <= 1


def _assert_backend_at_rest(backend: BackendHealth) -> None:
    budget, breaker, pool = backend.retry_budget, backend.breaker, backend.pool
    assert (budget.in_flight, budget.retries_in_flight, budget.waiting) == (0, 0, 0)
    assert budget.asked == budget.without_token + budget.without_room + budget.abandoned + budget.retried
    settled = breaker.succeeded + breaker.failed + breaker.slow + breaker.rejected_by_peer + breaker.ignored
    assert (breaker.in_flight, breaker.admitted) == (0, settled)
    assert (pool.leased, pool.waiting, pool.creating, pool.closing) == (0, 0, 0, 0)
    assert pool.idle <= pool.max_size
    assert pool.created == pool.closed + pool.idle
    if backend.rate_limit is not None:
        _assert_limit_at_rest(backend.rate_limit)
    if backend.hedge is not None:
        _assert_hedge_at_rest(backend.hedge)


def _assert_hedge_at_rest(hedge: HedgeStatistics) -> None:
    assert hedge.running == 0
    assert hedge.due == hedge.hedged + hedge.without_credit + hedge.without_token + hedge.without_room
    assert hedge.hedged == hedge.won + hedge.lost + hedge.failed + hedge.abandoned

"""The figures that are offered to whoever watches the service.

Responsibility: name each figure of a snapshot, and say what kind it is.
Guarantees: whatever only grows is a counter; units are in the name, in base units; labels are names from the settings
    or from this file.
Not responsible for: what the figures mean: see `holdfast.ports.statistics`.
Source: Prometheus, "Metric and label naming".
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from holdfast.ports.statistics import BackendHealth, BreakerState, Health, ServiceState

__all__ = ["Kind", "Sample", "samples_of"]


class Kind(enum.Enum):
    """How a figure behaves."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One figure.

    Args:
        kind: how it behaves.
        name: of the figure, the same for all its labels.
        description: one sentence.
        labels: what tells it apart from others of its name.
        value: as it is now.
    """

    kind: Kind
    name: str
    description: str
    labels: Mapping[str, str]
    value: float


def samples_of(health: Health) -> Iterator[Sample]:
    """Yield every figure of `health`."""
    yield from _of_requests(health)
    yield from _of_queue(health)
    yield from _of_sharing(health)
    yield from _of_memory(health)
    yield from _of_models(health)
    for backend in health.backends:
        yield from _of_backend(backend)
    yield from _counters("events", "What was decided, by name.", "event", health.events.counts)


def _of_requests(health: Health) -> Iterator[Sample]:
    requests, latency = health.requests, health.latency
    yield _gauge("ready", "1 while requests are taken.", int(health.state is ServiceState.READY))
    yield _gauge("uptime_seconds", "Seconds since the service was opened.", health.uptime_s)
    yield _gauge("requests_in_flight", "Requests inside.", requests.in_flight)
    endings = _named(requests, "answered", "invalid", "refused", "expired", "failed", "cancelled")
    yield from _counters("requests", "Requests, by how they ended.", "ending", endings)
    quantiles = {"0.5": latency.p50_s, "0.99": latency.p99_s}
    known = {quantile: value for quantile, value in quantiles.items() if value is not None}
    yield from _gauges("request_latency_seconds", "Latency of the last answered requests.", "quantile", known)
    if health.output is not None:
        verdicts = _named(health.output, "passed", "marked", "rejected", "failed", "abandoned")
        yield from _counters("answers_checked", "Answers, by what validators made of them.", "verdict", verdicts)


def _of_queue(health: Health) -> Iterator[Sample]:
    admission = health.admission
    yield _gauge("admission_waiting", "Requests that wait for a slot.", admission.waiting)
    yield _gauge("admission_waiting_bytes", "What they take.", admission.waiting_bytes)
    yield _gauge("admission_in_flight", "Requests that have a slot.", admission.limit.in_flight)
    yield _gauge("admission_limit", "Slots.", admission.limit.limit)
    endings = _named(admission, "granted", "refused", "shed", "expired", "cancelled")
    yield from _counters("admissions", "Requests, by how their wait for a slot ended.", "ending", endings)
    limited = _named(health.tenants, "refused", "settled", "cancelled")
    yield from _counters("tenant_limits", "Requests, by what became of them at their tenant's.", "ending", limited)


def _of_sharing(health: Health) -> Iterator[Sample]:
    shared, streams, sessions = health.deduplication, health.streams, health.sessions
    sources = _named(shared, "called", "joined", "cached")
    yield from _counters("deduplication", "Requests, by where their answer came from.", "disposition", sources)
    yield _gauge("deduplication_entries", "Answers that are kept for duplicates.", shared.entries)
    yield _gauge("deduplication_bytes", "What they take.", shared.size_bytes)
    yield _gauge("streams_reading", "Streams that are being read.", streams.reading)
    yield _gauge("streams_log_bytes", "What their texts take.", streams.log_bytes)
    endings = _named(streams, "completed", "failed", "left")
    yield from _counters("streams", "Streams, by how they ended.", "ending", endings)
    cuts = _named(streams, "interrupted", "stalled")
    yield from _counters("streams_cut", "Calls that were cut after their first piece.", "reason", cuts)
    yield _gauge("sessions", "Conversations that are kept.", sessions.sessions)
    yield _gauge("sessions_bytes", "What they count for.", sessions.size_bytes)


def _of_memory(health: Health) -> Iterator[Sample]:
    memory = health.memory
    yield _gauge("memory_used_bytes", "What requests hold and what is kept.", memory.used_bytes)
    yield _gauge("memory_max_bytes", "The ceiling over both.", memory.max_bytes)
    yield from _gauges("memory_kept_bytes", "What is kept, by what keeps it.", "holder", memory.kept_bytes)
    yield _counter("memory_refused", "Requests that did not fit.", {}, memory.refused)


def _of_models(health: Health) -> Iterator[Sample]:
    states = _named(health.models, "loaded", "loading", "unloading")
    yield from _gauges("models", "Models, by what goes on with them.", "state", states)
    yield _gauge("models_waiting", "Requests that wait for a model.", health.models.waiting)


def _of_backend(backend: BackendHealth) -> Iterator[Sample]:
    breaker, pool, budget = backend.breaker, backend.pool, backend.retry_budget
    mine = {"backend": backend.name}
    states = {state.value: float(state is breaker.state) for state in BreakerState}
    yield from _gauges("breaker_state", "1 for the state that the breaker is in.", "state", states, mine)
    endings = _named(breaker, "succeeded", "failed", "slow", "rejected_by_peer", "ignored", "refused")
    yield from _counters("breaker_calls", "Calls, by what they were for the breaker.", "ending", endings, mine)
    yield _counter("breaker_opened", "Times that the breaker opened.", mine, breaker.opened)
    resources = _named(pool, "leased", "idle", "creating", "closing")
    yield from _gauges("pool_resources", "Resources, by what goes on with them.", "state", resources, mine)
    yield _gauge("pool_waiting", "Calls that wait for a resource.", pool.waiting, mine)
    yield _gauge("pool_max_resources", "Resources at once.", pool.max_size, mine)
    refusals = _named(pool, "refused", "timeouts", "failures")
    yield from _counters("pool_refusals", "Calls that got no resource.", "reason", refusals, mine)
    yield _counter("retries", "Attempts that were made again.", mine, budget.retried)
    refused = _named(budget, "without_token", "without_room")
    yield from _counters("retries_refused", "Retries that the budget did not allow.", "reason", refused, mine)
    if backend.hedge is not None:
        hedged = _named(backend.hedge, "won", "lost", "failed", "abandoned")
        yield from _counters("hedges", "Second attempts, by how they ended.", "ending", hedged, mine)
    if backend.rate_limit is not None:
        limited = _named(backend.rate_limit, "refused", "settled", "cancelled")
        yield from _counters("backend_limits", "Calls, by what the backend's limit said.", "ending", limited, mine)
    if backend.latency_s is not None:
        yield _gauge(
            "backend_cost_seconds", "What choosing it costs; the longer ago, the less.", backend.latency_s, mine
        )


def _named(statistics: object, *names: str) -> dict[str, float]:
    return {name: getattr(statistics, name) for name in names}


def _gauge(name: str, description: str, value: float, labels: Mapping[str, str] | None = None) -> Sample:
    return Sample(kind=Kind.GAUGE, name=name, description=description, labels=labels or {}, value=value)


def _counter(name: str, description: str, labels: Mapping[str, str], value: float) -> Sample:
    return Sample(kind=Kind.COUNTER, name=name, description=description, labels=labels, value=value)


def _gauges(
    name: str, description: str, label: str, values: Mapping[str, float], labels: Mapping[str, str] | None = None
) -> Iterator[Sample]:
    for key, value in values.items():
        yield _gauge(name, description, value, {**(labels or {}), label: key})


def _counters(
    name: str, description: str, label: str, values: Mapping[str, float], labels: Mapping[str, str] | None = None
) -> Iterator[Sample]:
    for key, value in values.items():
        yield _counter(name, description, {**(labels or {}), label: key}, value)

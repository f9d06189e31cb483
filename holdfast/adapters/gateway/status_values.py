"""What the status page shows, as words under headings.

Responsibility: choose the figures that an operator looks for first, and word them.
Guarantees: the same snapshot gives the same cards; which cards and rows there are depends on what is configured only.
Not responsible for: markup: see `holdfast.adapters.gateway.status_page`; every figure there is: ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.adapters.gateway.figures import count, ratio, seconds, size
from holdfast.ports.statistics import BackendHealth, BreakerState, Health

__all__ = ["Card", "cards_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Some rows under a heading.

    Args:
        title: the heading.
        rows: names and values.
        state: of what the card is about, in one word; None for what has none.
        is_fine: whether that state needs nobody's attention.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    state: str | None = None
    is_fine: bool = True


def cards_of(health: Health) -> Iterator[Card]:
    """Yield the cards, those first that tell of trouble."""
    yield _requests(health)
    yield _queue(health)
    for backend in health.backends:
        yield _backend(backend)
    yield _duplicates(health)
    yield _streams(health)
    yield _memory(health)
    yield _limits(health)


def _requests(health: Health) -> Card:
    requests = health.requests
    rows = [("In flight", count(requests.in_flight))]
    rows += [
        (ending.capitalize(), count(getattr(requests, ending)))
        for ending in ("answered", "refused", "expired", "failed", "invalid", "cancelled")
    ]
    return Card(title="Requests", rows=tuple(rows))


def _queue(health: Health) -> Card:
    queue = health.admission
    rows = (
        ("Waiting", count(queue.waiting)),
        ("At work", f"{count(queue.limit.in_flight)} of {count(queue.limit.limit)}"),
        ("Let in", count(queue.granted)),
        ("Refused at the door", count(queue.refused)),
        ("Shed for more urgent ones", count(queue.shed)),
        ("Expired while waiting", count(queue.expired)),
    )
    return Card(title="Queue", rows=rows)


def _duplicates(health: Health) -> Card:
    shared = health.deduplication
    rows = (
        ("Saved", ratio(shared.saved_ratio)),
        ("Calls made", count(shared.called)),
        ("Joined a call under way", count(shared.joined)),
        ("Answered from the window", count(shared.cached)),
        ("Answers kept", f"{count(shared.entries)}, {size(shared.size_bytes)}"),
    )
    return Card(title="Duplicates", rows=rows)


def _streams(health: Health) -> Card:
    streams, sessions = health.streams, health.sessions
    rows = (
        ("Being read", count(streams.reading)),
        ("Read to the end", count(streams.completed)),
        ("Cut by a backend", count(streams.interrupted)),
        ("Ended for want of a reader", count(streams.stalled)),
        ("Sessions kept", f"{count(sessions.sessions)}, {size(sessions.size_bytes)}"),
    )
    return Card(title="Streams and sessions", rows=rows)


def _memory(health: Health) -> Card:
    memory = health.memory
    share = memory.used_bytes / memory.max_bytes
    rows = (
        ("In use", f"{size(memory.used_bytes)} of {size(memory.max_bytes)} ({ratio(share)})"),
        ("Held by requests", size(memory.held_bytes)),
        ("Freed for requests", size(memory.freed_bytes)),
        ("Requests refused", count(memory.refused)),
    )
    return Card(title="Memory", rows=rows)


def _limits(health: Health) -> Card:
    tenants = health.tenants
    rows = [("Tenants tracked", count(tenants.tracked)), ("Refused by a tenant's limit", count(tenants.refused))]
    rows += [
        (f"Refused by {backend.name}'s limit", count(backend.rate_limit.refused))
        for backend in health.backends
        if backend.rate_limit is not None
    ]
    return Card(title="Rate limits", rows=tuple(rows))


def _backend(backend: BackendHealth) -> Card:
    breaker, pool, budget = backend.breaker, backend.pool, backend.retry_budget
    rows = [
        ("Calls that succeeded", count(breaker.succeeded + breaker.slow)),
        ("Calls that failed", count(breaker.failed)),
        ("Pushed back", count(breaker.rejected_by_peer)),
        ("Refused by the breaker", count(breaker.refused)),
        ("Times opened", count(breaker.opened)),
        ("Pool in use", f"{count(pool.leased)} of {count(pool.max_size)}"),
        ("Waiting for the pool", count(pool.waiting)),
        ("Retries", count(budget.retried)),
        ("Retries refused", count(budget.without_token + budget.without_room)),
    ]
    if backend.latency_s is not None:
        rows.append(("Cost by which it is chosen", seconds(backend.latency_s)))
    is_fine = breaker.state in {BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY}
    state = breaker.state.value.replace("_", " ")
    return Card(title=f"Backend {backend.name}", rows=tuple(rows), state=f"breaker {state}", is_fine=is_fine)

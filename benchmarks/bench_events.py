"""What it costs to tell a decision: to make the event, to keep it, to log it; and what a thousand of them take."""

from __future__ import annotations

import gc
import logging
import sys
import tracemalloc

from harness import Row, measure, report

from holdfast.adapters.logging import LoggingEventSink
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.event_hub import EventHub
from holdfast.ports.events import BreakerRefused, EventSink, RequestAnswered
from holdfast.ports.service import Disposition, Priority

_BUDGET_P50_US = 1.5
_EVENTS = 1000


def _answered(tenant: str = "default", latency_s: float = 0.25) -> RequestAnswered:
    return RequestAnswered(
        tenant=tenant,
        priority=Priority.NORMAL,
        backend="echo",
        disposition=Disposition.CALLED,
        attempts=1,
        latency_s=latency_s,
    )


class _Dropping(logging.Handler):
    """Formats each line and drops it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def _refusing(events: EventSink | None) -> CircuitBreaker:
    config = BreakerConfig(mode=BreakerMode.FORCED_OPEN)
    return CircuitBreaker("echo", config, clock=SystemClock(), random=lambda: 0.5, events=events)


def _rows() -> list[Row]:
    logger = logging.getLogger("bench.events")
    logger.propagate = False
    logger.addHandler(_Dropping())
    hub, log = EventHub(clock=SystemClock()), LoggingEventSink(logger.name)
    silent, telling = _refusing(None), _refusing(hub)
    answered, refused = _answered(), BreakerRefused(breaker="echo", retry_after_s=5.0)
    logger.setLevel(logging.WARNING)
    rows = [
        measure("the event itself, two fields", lambda: BreakerRefused(breaker="echo", retry_after_s=5.0)),
        measure("the event itself, six fields", _answered),
        measure("EventHub.emit, two fields", lambda: hub.emit(refused), budget_p50_us=_BUDGET_P50_US),
        measure("EventHub.emit, six fields", lambda: hub.emit(answered), budget_p50_us=_BUDGET_P50_US),
        measure("a breaker refuses, without a sink", silent.try_acquire),
        measure("a breaker refuses, and tells a hub", telling.try_acquire),
        measure("LoggingEventSink.emit, of a level that is off", lambda: log.emit(answered)),
    ]
    logger.setLevel(logging.DEBUG)
    return [
        *rows,
        measure("LoggingEventSink.emit, formatted and dropped", lambda: log.emit(answered)),
        measure("logging: one line of two values, likewise", lambda: logger.info("%s is answered by %s", "a", "b")),
    ]


def _memory() -> tuple[int, int]:
    """Return the bytes that the hub accounts for, and those taken, with tenants that share nothing."""
    hub = EventHub(clock=SystemClock())
    gc.collect()
    tracemalloc.start()
    for number in range(_EVENTS):
        hub.emit(_answered(f"tenant-{number}", 0.25 + number))
    gc.collect()
    taken_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return hub.statistics().buffer.size_bytes, taken_bytes


def main() -> bool:
    """Print the figures and return whether the budget is kept."""
    kept = report("One event", _rows())
    accounted_bytes, taken_bytes = _memory()
    print(f"{_EVENTS} events of six fields: {accounted_bytes} bytes accounted for, {taken_bytes} taken")
    return kept and taken_bytes <= accounted_bytes


if __name__ == "__main__":
    sys.exit(not main())

"""What it costs to tell a decision: to make the event, to keep it, and to pass it on as a log line."""

from __future__ import annotations

import logging
import sys

from harness import Row, measure, report

from holdfast.adapters.logging import LoggingEventSink
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.event_hub import EventHub
from holdfast.ports.events import BreakerRefused, RequestAnswered
from holdfast.ports.service import Disposition, Priority

_BUDGET_P50_US = 1.5


def _answered() -> RequestAnswered:
    return RequestAnswered(
        tenant="default",
        priority=Priority.NORMAL,
        backend="echo",
        disposition=Disposition.CALLED,
        attempts=1,
        latency_s=0.25,
    )


def _log_to(handler: logging.Handler, level: int) -> logging.Logger:
    logger = logging.getLogger("bench.events")
    logger.propagate = False
    logger.handlers = [handler]
    logger.setLevel(level)
    return logger


class _Dropping(logging.Handler):
    """Formats each line and drops it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def _rows() -> list[Row]:
    clock = SystemClock()
    hub = EventHub(clock=clock)
    sink = LoggingEventSink(_log_to(_Dropping(), logging.WARNING).name)
    answered, refused = _answered(), BreakerRefused(breaker="echo", retry_after_s=5.0)
    rows = [
        measure("floor: the event itself, six fields", _answered),
        measure("EventHub.emit, two fields", lambda: hub.emit(refused), budget_p50_us=_BUDGET_P50_US),
        measure("EventHub.emit, six fields", lambda: hub.emit(answered), budget_p50_us=_BUDGET_P50_US),
        measure("LoggingEventSink.emit, of a level that is off", lambda: sink.emit(answered)),
    ]
    _log_to(_Dropping(), logging.DEBUG)
    rows.append(measure("LoggingEventSink.emit, formatted and dropped", lambda: sink.emit(answered)))
    return rows


def main() -> bool:
    """Print the table and return whether the budget is kept."""
    return report("One event", _rows())


if __name__ == "__main__":
    sys.exit(not main())

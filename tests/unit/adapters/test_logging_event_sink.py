from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from holdfast.adapters.logging import LoggingEventSink
from holdfast.domain.event_hub import EventHub
from holdfast.ports.events import (
    BreakerClosed,
    BreakerOpened,
    ClaimFenced,
    CredentialsRefused,
    Deduplicated,
    Event,
    LimitChanged,
    ParametersApplied,
    ParametersRefused,
    RequestAnswered,
    RetryScheduled,
    SharedAnswerTaken,
    SharedStoreLost,
)
from holdfast.ports.service import Disposition, Priority
from holdfast.testing import ManualClock

LOGGER = "tests.events"


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    handler, logger = Records(), logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


ANSWERED = RequestAnswered(
    tenant="a & b",
    priority=Priority.HIGH,
    backend="b",
    disposition=Disposition.CALLED,
    attempts=2,
    latency_s=0.1 + 0.2,
)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            ANSWERED,
            'request_answered tenant="a & b" priority=high backend=b disposition=called attempts=2 latency_s=0.3',
        ),
        (BreakerOpened(breaker="a", open_s=None), "breaker_opened breaker=a open_s=null"),
        (
            RetryScheduled(backend="a", attempt=1, delay_s=1 / 3, error="OSError"),
            "retry_scheduled backend=a attempt=1 delay_s=0.333333 error=OSError",
        ),
        (BreakerClosed(breaker=""), 'breaker_closed breaker=""'),
        (BreakerClosed(breaker="a=b"), 'breaker_closed breaker="a=b"'),
        (BreakerClosed(breaker="a\nERROR forged"), r'breaker_closed breaker="a\nERROR forged"'),
        (BreakerClosed(breaker="\x1b[31mred"), r'breaker_closed breaker="\u001b[31mred"'),
        (BreakerClosed(breaker="\ud800"), r'breaker_closed breaker="\ud800"'),
        (BreakerClosed(breaker="%s"), "breaker_closed breaker=%s"),
    ],
)
def test_emit_logs_one_line_of_names_and_values(event: Event, line: str, logged: list[logging.LogRecord]) -> None:
    LoggingEventSink(LOGGER).emit(event)

    assert [record.getMessage() for record in logged] == [line]


def test_emit_gives_formatters_the_values_as_they_are_and_ready_for_json(logged: list[logging.LogRecord]) -> None:
    LoggingEventSink(LOGGER).emit(ANSWERED)

    values = vars(logged[0])["holdfast"]
    assert (
        json.loads(json.dumps(values))
        == values
        == {
            "event": "request_answered",
            "tenant": "a & b",
            "priority": "high",
            "backend": "b",
            "disposition": "called",
            "attempts": 2,
            "latency_s": 0.1 + 0.2,
        }
    )


def test_emit_event_of_ones_own_whose_value_is_no_json_is_logged_by_its_text(logged: list[logging.LogRecord]) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class TeaSteeped(Event):
        minutes: range

    LoggingEventSink(LOGGER).emit(TeaSteeped(minutes=range(2, 3)))

    assert logged[0].getMessage() == 'tea_steeped minutes="range(2, 3)"'


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (ANSWERED, logging.DEBUG),
        (Deduplicated(key="0" * 64, disposition=Disposition.CACHED), logging.DEBUG),
        (LimitChanged(before=20, after=18, recent_s=None, baseline_s=None), logging.INFO),
        (BreakerOpened(breaker="a", open_s=5.0), logging.WARNING),
        (CredentialsRefused(backend="a"), logging.WARNING),
        (ClaimFenced(key="0" * 64), logging.WARNING),
        (SharedAnswerTaken(key="0" * 64, disposition=Disposition.JOINED), logging.DEBUG),
        (SharedStoreLost(store="redis", error="StoreUnavailableError", is_refusal=False), logging.WARNING),
        (ParametersRefused(store="consul", path="timeout_s"), logging.WARNING),
        (ParametersApplied(store="consul", changed="timeout_s", at_restart=""), logging.INFO),
    ],
)
def test_emit_logs_at_the_level_of_the_events_kind(event: Event, level: int, logged: list[logging.LogRecord]) -> None:
    LoggingEventSink(LOGGER).emit(event)

    assert [record.levelno for record in logged] == [level]


def test_emit_logs_at_the_level_that_was_given_for_the_kind(logged: list[logging.LogRecord]) -> None:
    sink = LoggingEventSink(LOGGER, levels={BreakerOpened: logging.CRITICAL})

    sink.emit(BreakerOpened(breaker="a", open_s=5.0))
    sink.emit(ANSWERED)

    assert [record.levelno for record in logged] == [logging.CRITICAL, logging.DEBUG]


def test_emit_below_the_loggers_level_logs_nothing(logged: list[logging.LogRecord]) -> None:
    logging.getLogger(LOGGER).setLevel(logging.INFO)

    LoggingEventSink(LOGGER).emit(ANSWERED)

    assert logged == []


def test_emit_without_a_name_logs_to_the_logger_of_holdfasts_events(caplog: pytest.LogCaptureFixture) -> None:
    LoggingEventSink().emit(BreakerOpened(breaker="a", open_s=5.0))

    assert caplog.record_tuples == [("holdfast.events", logging.WARNING, "breaker_opened breaker=a open_s=5")]


def test_emit_while_a_filter_raises_is_counted_by_the_hub_and_raises_nothing(logged: list[logging.LogRecord]) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise LookupError(record.name)

    logger = logging.getLogger(LOGGER)
    logger.addFilter(refuse)
    hub = EventHub(clock=ManualClock(), sinks=[LoggingEventSink(LOGGER)])
    try:
        hub.emit(ANSWERED)
    finally:
        logger.removeFilter(refuse)
    hub.emit(ANSWERED)

    assert hub.statistics().sink_failures == 1
    assert len(logged) == 1

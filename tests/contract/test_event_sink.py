from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest

from holdfast.adapters.logging import LoggingEventSink
from holdfast.domain.event_hub import EventHub
from holdfast.ports.events import Event, EventSink
from holdfast.testing import ManualClock
from holdfast.testing.contracts.event_sink import EventSinkContract
from tests.fakes.events import Listener


def fail() -> None:
    raise OSError("no space left on device")


class Raising:
    def emit(self, event: Event) -> None:
        fail()


class TestEventHub(EventSinkContract):
    def make_sink(self) -> EventSink:
        return EventHub(clock=ManualClock())

    def make_failing_sink(self) -> EventSink:
        return EventHub(clock=ManualClock(), sinks=[Raising()])

    def names_heard(self, sink: EventSink) -> list[str]:
        assert isinstance(sink, EventHub)
        return [recorded.event.name for recorded in sink.recent()]


class TestListener(EventSinkContract):
    def make_sink(self) -> EventSink:
        return Listener()

    def make_failing_sink(self) -> EventSink:
        listener = Listener()
        listener.then = fail
        return listener

    def names_heard(self, sink: EventSink) -> list[str]:
        assert isinstance(sink, Listener)
        return [event.name for event in sink.heard]


class Listing(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Full(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fail()


class TestLoggingEventSink(EventSinkContract):
    @pytest.fixture(autouse=True)
    def loggers(self) -> Iterator[None]:
        self.handlers: dict[EventSink, Listing] = {}
        self.numbers = itertools.count()
        yield
        for number in range(next(self.numbers)):
            logging.getLogger(f"{__name__}.{number}").handlers.clear()

    def make(self, handler: logging.Handler) -> EventSink:
        name = f"{__name__}.{next(self.numbers)}"
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
        return LoggingEventSink(name)

    def make_sink(self) -> EventSink:
        handler = Listing()
        sink = self.make(handler)
        self.handlers[sink] = handler
        return sink

    def make_failing_sink(self) -> EventSink:
        return self.make(Full())

    def names_heard(self, sink: EventSink) -> list[str]:
        return [line.split()[0] for line in self.handlers[sink].lines]

"""The contract of sinks, by those that tell OpenTelemetry."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, NoOpMeter
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext
from opentelemetry.util.types import Attributes

from holdfast.adapters.otel import OtelMetrics, OtelSpans
from holdfast.ports.events import Event, EventSink
from holdfast.testing.contracts.event_sink import EventSinkContract


class Listing(Counter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        assert amount == 1
        self.told.append(dict(attributes or {}))


class Broken(Listing):
    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        raise OSError("no space left on device")


class Meter(NoOpMeter):
    """Gives one counter."""

    def __init__(self, counter: Listing) -> None:
        super().__init__("meter")
        self.counter = counter

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Counter:
        return self.counter


class TestOtelMetrics(EventSinkContract):
    @pytest.fixture(autouse=True)
    def counters(self) -> None:
        self.kept: dict[EventSink, Listing] = {}

    def make_sink(self) -> EventSink:
        counter = Listing()
        sink = OtelMetrics(Meter(counter))
        self.kept[sink] = counter
        return sink

    def make_failing_sink(self) -> EventSink:
        return OtelMetrics(Meter(Broken()))

    def names_heard(self, sink: EventSink) -> list[str]:
        return [told["holdfast.event"] for told in self.kept[sink].told]


class BrokenSpan(NonRecordingSpan):
    def is_recording(self) -> bool:
        return True

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        raise OSError("no space left on device")


class WithinASpan:
    """Emits as a task does in which that span is the current one: where an event is told, the task decides."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._sink = OtelSpans()

    def emit(self, event: Event) -> None:
        with trace.use_span(self.span):
            self._sink.emit(event)


class TestOtelSpans(EventSinkContract):
    def make_sink(self) -> EventSink:
        limits = SpanLimits(max_events=SpanLimits.UNSET)
        return WithinASpan(TracerProvider(span_limits=limits).get_tracer("test").start_span("test"))

    def make_failing_sink(self) -> EventSink:
        return WithinASpan(BrokenSpan(SpanContext(1, 1, is_remote=False)))

    def names_heard(self, sink: EventSink) -> list[str]:
        assert isinstance(sink, WithinASpan)
        assert isinstance(sink.span, ReadableSpan)
        return [event.name.removeprefix("holdfast.") for event in sink.span.events]

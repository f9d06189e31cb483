from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from holdfast.adapters.logging import LogContext
from holdfast.adapters.otel import OtelMetrics, OtelSpans
from holdfast.application.recorders import Recorders
from holdfast.ports.telemetry import Recorder
from holdfast.testing.contracts.recorder import RecorderContract
from tests.fakes.recorder import Following


class TestLogContext(RecorderContract):
    def make_recorder(self) -> Recorder:
        return LogContext(with_prompts=True)


class TestOtelSpans(RecorderContract):
    def make_recorder(self) -> Recorder:
        return OtelSpans(TracerProvider().get_tracer("test"))


class TestOtelSpansWithoutAnSdk(RecorderContract):
    def make_recorder(self) -> Recorder:
        return OtelSpans()


class TestOtelMetrics(RecorderContract):
    def make_recorder(self) -> Recorder:
        return OtelMetrics(MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("test"))


class TestRecorders(RecorderContract):
    def make_recorder(self) -> Recorder:
        return Recorders([OtelSpans(TracerProvider().get_tracer("test")), LogContext(), Following()])


class TestRecordersOfNobody(RecorderContract):
    def make_recorder(self) -> Recorder:
        return Recorders([])


class TestFollowing(RecorderContract):
    def make_recorder(self) -> Recorder:
        return Following()

"""Spans and metrics, read back through OpenTelemetry's own SDK."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode

from holdfast.adapters.otel import OtelMetrics, OtelSpans, conventions
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.events import ServiceClosed
from holdfast.ports.inference import Completion, FinishReason, Parameters, Prompt, ResponseFormat, Usage
from holdfast.ports.service import Priority
from holdfast.ports.trace import TraceContext
from tests.fakes.service import ONCE, Answering, ask, ask_anew, opened, unavailable

pytestmark = pytest.mark.anyio

CALLER = TraceContext(trace_id="a" * 32, span_id="b" * 16, is_sampled=True, state="vendor=1")
TWICE = Settings(guard=GuardSettings(retry=RetryPolicy(max_attempts=2, jitter=Jitter.NONE)))
SECRET = "the secret question"  # noqa: S105 - of nobody


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def spans(provider: TracerProvider) -> OtelSpans:
    return OtelSpans(provider.get_tracer("test"))


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meters(reader: InMemoryMetricReader) -> OtelMetrics:
    return OtelMetrics(MeterProvider(metric_readers=[reader]).get_meter("test"))


def of_request(exporter: InMemorySpanExporter) -> ReadableSpan:
    [span] = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.INTERNAL]
    return span


def of_attempts(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    spans = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]
    return sorted(spans, key=lambda span: attributes(span)["holdfast.attempt"])


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: trace.Span | ReadableSpan) -> tuple[int, int]:
    """Return the trace of a span, and its own id."""
    own = span.get_span_context()
    assert own is not None
    return own.trace_id, own.span_id


def above(span: ReadableSpan) -> tuple[int, int]:
    """Return the trace of a span, and the id of the one above it."""
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


async def test_request_has_a_span_with_what_came_of_it(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    async with opened({"a": Answering()}, recorders=[spans]) as service:
        await service.submit(ask(tenant="alice", request_id="r-1", model="m", priority=Priority.HIGH))

    span = of_request(exporter)
    assert span.name == "holdfast.request"
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "answering-1",
        "holdfast.request.id": "r-1",
        "holdfast.tenant": "alice",
        "holdfast.priority": "high",
        "holdfast.backend": "a",
        "holdfast.disposition": "called",
        "holdfast.attempts": 1,
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_request_of_a_session_names_the_conversation(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    async with opened({"a": Answering()}, recorders=[spans]) as service:
        session_id = await service.sessions.create(tenant="default")
        await service.submit(ask(session_id=session_id))

    assert attributes(of_request(exporter))["gen_ai.conversation.id"] == session_id


async def test_attempt_has_a_span_of_a_client_below_that_of_its_request(
    exporter: InMemorySpanExporter, spans: OtelSpans
) -> None:
    backend = Answering(usage=Usage(input_tokens=3, output_tokens=7))
    parameters = Parameters(temperature=0.0, top_p=0.5, max_tokens=9, seed=1, stop=("x",))
    async with opened({"a": backend}, recorders=[spans]) as service:
        await service.submit(ask(model="m", parameters=parameters))

    request, [attempt] = of_request(exporter), of_attempts(exporter)
    assert attempt.name == "chat m"
    assert above(attempt) == ids(request)
    assert attributes(attempt) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "a",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 1,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "answering-1",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 7,
        "holdfast.attempt": 1,
    }


async def test_attempt_without_a_model_is_called_after_what_it_does(
    exporter: InMemorySpanExporter, spans: OtelSpans
) -> None:
    async with opened({"a": Answering(text="{}")}, recorders=[spans]) as service:
        await service.submit(ask(parameters=Parameters(response_format=ResponseFormat.JSON)))

    [attempt] = of_attempts(exporter)
    assert attempt.name == "chat"
    assert attributes(attempt)["gen_ai.output.type"] == "json"


async def test_each_attempt_has_a_span_of_its_own_and_only_the_failed_one_is_an_error(
    exporter: InMemorySpanExporter, spans: OtelSpans
) -> None:
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    async with opened({"a": backend}, TWICE, recorders=[spans]) as service:
        await service.submit(ask())

    first, second = of_attempts(exporter)
    assert (first.status.status_code, attributes(first)["error.type"]) == (StatusCode.ERROR, "BackendUnavailableError")
    assert (second.status.status_code, "error.type" in attributes(second)) == (StatusCode.UNSET, False)
    assert of_request(exporter).status.status_code is StatusCode.UNSET


async def test_request_that_fails_has_a_span_with_its_error(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    async with opened({"a": Answering(failing=unavailable)}, Settings(guard=ONCE), recorders=[spans]) as service:
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask())

    span = of_request(exporter)
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "BackendUnavailableError")


async def test_request_whose_caller_went_away_is_no_error(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    async with opened({"a": Answering(delay_s=60.0)}, recorders=[spans]) as service:
        with anyio.move_on_after(1.0):
            await service.submit(ask())

    for span in (of_request(exporter), *of_attempts(exporter)):
        assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.UNSET, "cancelled")


async def test_stream_that_is_left_is_cancelled(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    async with opened({"a": Answering(delay_s=5.0)}, recorders=[spans]) as service, service.stream(ask()):
        pass

    span = of_request(exporter)
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.UNSET, "cancelled")


async def test_trace_of_the_caller_is_carried_in_and_out(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    backend = Answering()
    async with opened({"a": backend}, recorders=[spans]) as service:
        await service.submit(ask(trace=CALLER))

    request, [attempt], [prompt] = of_request(exporter), of_attempts(exporter), backend.prompts
    assert above(request) == (int(CALLER.trace_id, 16), int(CALLER.span_id, 16))
    assert request.parent is not None
    assert request.parent.is_remote
    assert prompt.trace == replace(CALLER, span_id=f"{ids(attempt)[1]:016x}")


async def test_trace_that_its_caller_does_not_keep_is_not_kept_here_and_handed_on_as_such(
    exporter: InMemorySpanExporter,
) -> None:
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    backend = Answering()
    async with opened({"a": backend}, recorders=[OtelSpans(provider.get_tracer("test"))]) as service:
        await service.submit(ask(trace=replace(CALLER, is_sampled=False)))

    [prompt] = backend.prompts
    assert exporter.get_finished_spans() == ()
    assert prompt.trace is not None
    assert (prompt.trace.trace_id, prompt.trace.is_sampled) == (CALLER.trace_id, False)


async def test_request_within_a_span_of_the_application_is_found_below_it(
    exporter: InMemorySpanExporter, provider: TracerProvider, spans: OtelSpans
) -> None:
    async with opened({"a": Answering()}, recorders=[spans]) as service:
        with provider.get_tracer("app").start_as_current_span("app", kind=SpanKind.SERVER) as own:
            await service.submit(ask())
            after = trace.get_current_span()

    assert above(of_request(exporter)) == ids(own)
    assert after is own


async def test_span_of_a_driver_is_found_below_the_attempt(
    exporter: InMemorySpanExporter, provider: TracerProvider, spans: OtelSpans
) -> None:
    class Driving(Answering):
        async def complete(self, prompt: Prompt) -> Completion:
            with provider.get_tracer("driver").start_as_current_span("POST", kind=SpanKind.PRODUCER):
                return await super().complete(prompt)

    async with opened({"a": Driving()}, recorders=[spans]) as service:
        await service.submit(ask())

    [driver] = [span for span in exporter.get_finished_spans() if span.name == "POST"]
    [attempt] = of_attempts(exporter)
    assert above(driver) == ids(attempt)


async def test_context_is_what_it_was_after_a_request(spans: OtelSpans) -> None:
    before = otel_context.get_current()
    async with opened({"a": Answering(failing=unavailable)}, TWICE, recorders=[spans]) as service:
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask())

    assert otel_context.get_current() == before


async def test_events_are_found_in_the_span_in_which_they_were_decided(
    exporter: InMemorySpanExporter, spans: OtelSpans
) -> None:
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    async with opened({"a": backend}, TWICE, recorders=[spans], event_sinks=(spans,)) as service:
        await service.submit(ask())

    told = {event.name: dict(event.attributes or {}) for event in of_request(exporter).events}
    assert told["holdfast.retry_scheduled"]["holdfast.backend"] == "a"
    assert told["holdfast.retry_scheduled"]["holdfast.error"] == "BackendUnavailableError"
    assert told["holdfast.request_answered"]["holdfast.disposition"] == "called"


async def test_one_attempt_that_is_shared_has_one_span(exporter: InMemorySpanExporter, spans: OtelSpans) -> None:
    async with (
        opened({"a": Answering(delay_s=1.0)}, recorders=[spans]) as service,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(5):
            tasks.start_soon(service.submit, ask())

    assert len(of_attempts(exporter)) == 1
    assert len(exporter.get_finished_spans()) == 6


async def test_no_span_is_made_where_no_recorder_is_on(exporter: InMemorySpanExporter) -> None:
    async with opened({"a": Answering()}) as service:
        await service.submit(ask())

    assert exporter.get_finished_spans() == ()


async def test_trace_goes_through_unchanged_where_nobody_traces() -> None:
    backend = Answering()
    async with opened({"a": backend}, recorders=[OtelSpans(NoOpTracer())]) as service:
        await service.submit(ask())
        await service.submit(ask_anew(trace=CALLER))

    assert [prompt.trace for prompt in backend.prompts] == [None, CALLER]


async def test_nothing_of_prompt_or_answer_is_in_spans_or_metrics(
    exporter: InMemorySpanExporter, spans: OtelSpans, reader: InMemoryMetricReader, meters: OtelMetrics
) -> None:
    async with opened({"a": Answering(text=SECRET)}, recorders=[spans, meters], event_sinks=(spans, meters)) as service:
        await service.submit(ask(SECRET))

    assert len(exporter.get_finished_spans()) == 2
    assert not any(SECRET in span.to_json() for span in exporter.get_finished_spans())
    data = reader.get_metrics_data()
    assert data is not None
    assert SECRET not in data.to_json()


async def test_duration_of_each_attempt_is_measured_with_how_it_ended(
    reader: InMemoryMetricReader, meters: OtelMetrics
) -> None:
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    async with opened({"a": backend}, TWICE, recorders=[meters]) as service:
        await service.submit(ask(model="m"))

    found = {
        point.attributes.get("error.type"): dict(point.attributes)
        for point in points(reader, "gen_ai.client.operation.duration")
    }
    common = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "a", "gen_ai.request.model": "m"}
    assert found == {
        "BackendUnavailableError": common | {"error.type": "BackendUnavailableError"},
        None: common | {"gen_ai.response.model": "answering-1"},
    }


async def test_tokens_of_an_attempt_are_measured_by_kind(reader: InMemoryMetricReader, meters: OtelMetrics) -> None:
    backend = Answering(usage=Usage(input_tokens=3, output_tokens=7))
    async with opened({"a": backend}, recorders=[meters]) as service:
        await service.submit(ask())

    sums = {point.attributes["gen_ai.token.type"]: point.sum for point in points(reader, "gen_ai.client.token.usage")}
    assert sums == {"input": 3, "output": 7}


async def test_tokens_of_a_backend_that_tells_none_are_not_taken_for_none(
    reader: InMemoryMetricReader, meters: OtelMetrics
) -> None:
    async with opened({"a": Answering()}, recorders=[meters]) as service:
        await service.submit(ask())

    assert points(reader, "gen_ai.client.operation.duration")
    assert points(reader, "gen_ai.client.token.usage") == []


async def test_duration_of_a_request_is_that_which_its_event_tells(
    reader: InMemoryMetricReader, meters: OtelMetrics
) -> None:
    async with opened({"a": Answering(delay_s=2.0)}, event_sinks=(meters,)) as service:
        await service.submit(ask())

    [point] = points(reader, "holdfast.request.duration")
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 1
    assert point.sum == pytest.approx(2.0)
    assert dict(point.attributes or {}) == {
        "holdfast.event": "request_answered",
        "holdfast.priority": "normal",
        "holdfast.backend": "a",
        "holdfast.disposition": "called",
    }


async def test_events_are_counted_by_name_and_no_tenant_makes_a_series(
    reader: InMemoryMetricReader, meters: OtelMetrics
) -> None:
    async with opened({"a": Answering()}, event_sinks=(meters,)) as service:
        for number in range(10):
            await service.submit(ask_anew(tenant=f"tenant-{number}"))

    [point] = [
        point for point in points(reader, "holdfast.events") if point.attributes["holdfast.event"] == "request_answered"
    ]
    assert point.value == 10


def test_names_are_those_of_the_semantic_conventions_in_force() -> None:
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    left_behind = {
        gen_ai_attributes.GEN_AI_SYSTEM,
        gen_ai_attributes.GEN_AI_PROMPT,
        gen_ai_attributes.GEN_AI_COMPLETION,
        gen_ai_attributes.GEN_AI_USAGE_PROMPT_TOKENS,
        gen_ai_attributes.GEN_AI_USAGE_COMPLETION_TOKENS,
    }
    parameters = Parameters(temperature=0.0, top_p=1.0, max_tokens=1, seed=1, stop=("x",))
    prompt = Prompt(messages=(), model="m", parameters=parameters)
    completion = Completion(text="", model="m", finish_reason=FinishReason.STOP)
    used = {
        conventions.TOKEN_TYPE,
        *conventions.request_attributes(ask(model="m", session_id="s")),
        *conventions.attempt_attributes(prompt, backend="a"),
        *conventions.sampling_attributes(prompt),
        *conventions.usage_attributes(completion),
    }
    of_conventions = {name for name in used if name.startswith("gen_ai.")}

    assert len(of_conventions) == 15
    assert of_conventions <= known - left_behind
    assert conventions.ERROR_TYPE == error_attributes.ERROR_TYPE


def test_instruments_are_those_of_the_semantic_conventions(reader: InMemoryMetricReader) -> None:
    provider = MeterProvider(metric_readers=[reader])
    ours = OtelMetrics(provider.get_meter("ours"))
    theirs = provider.get_meter("theirs")
    record = ours.begin_attempt(Prompt(messages=()), backend="a", number=1)
    record.end(completion=Completion(text="", model="m", usage=Usage(input_tokens=1, output_tokens=1)), error=None)
    gen_ai_metrics.create_gen_ai_client_operation_duration(theirs).record(1.0)
    gen_ai_metrics.create_gen_ai_client_token_usage(theirs).record(1)
    data = reader.get_metrics_data()

    assert data is not None
    units = {
        scope.scope.name: {metric.name: metric.unit for metric in scope.metrics}
        for scope in data.resource_metrics[0].scope_metrics
    }
    assert units["ours"] == units["theirs"]


def test_tracer_and_meter_are_those_of_the_application_where_none_are_given() -> None:
    record = OtelSpans().begin_request(ask(trace=CALLER))
    record.end(reply=None, error=None)
    OtelMetrics().emit(ServiceClosed(cancelled=0))

    assert record.request.trace is not None
    assert record.request.trace.trace_id == CALLER.trace_id

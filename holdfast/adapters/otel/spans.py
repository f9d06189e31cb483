"""One span for each request and one for each attempt.

Responsibility: `Recorder` and `EventSink` that make spans, and events within them.
Guarantees: a request's span belongs to the trace that it came with, or to that of the task that asks; an attempt's span
    to its request's, whichever task makes it; each is the current one while it lasts, so that those of drivers are
    found below it. A cancellation is no error. Nothing of a prompt or an answer is in one.
Not responsible for: where spans go: the application sets up a tracer provider; without one, none is kept.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

from holdfast.adapters.otel.conventions import (
    CANCELLED,
    ERROR_TYPE,
    OPERATION,
    attempt_attributes,
    error_type,
    event_attributes,
    reply_attributes,
    request_attributes,
    sampling_attributes,
    usage_attributes,
)
from holdfast.ports.events import Event, EventSink
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Reply, Request
from holdfast.ports.telemetry import AttemptRecord, Recorder, RequestRecord
from holdfast.ports.trace import TraceContext

try:
    from opentelemetry import context, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        Span,
        SpanContext,
        SpanKind,
        Status,
        StatusCode,
        TraceFlags,
        Tracer,
        TraceState,
    )
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.otel needs opentelemetry-api: pip install 'holdfast[otel]'", name="opentelemetry"
    ) from error

__all__ = ["OtelSpans"]


class OtelSpans:
    """Makes the spans.

    Args:
        tracer: makes them; None for that of the application's tracer provider.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = trace.get_tracer("holdfast", version("holdfast")) if tracer is None else tracer

    def begin_request(self, request: Request) -> RequestRecord:
        """Begin the span of a request."""
        span = self._tracer.start_span(
            "holdfast.request",
            _above(request.trace, is_remote=True),
            kind=SpanKind.INTERNAL,
            attributes=request_attributes(request),
        )
        return _RequestSpan(span, replace(request, trace=_place(span, request.trace)))

    def begin_attempt(self, prompt: Prompt, *, backend: str, number: int) -> AttemptRecord:
        """Begin the span of an attempt, below that of its request."""
        span = self._tracer.start_span(
            OPERATION if prompt.model is None else f"{OPERATION} {prompt.model}",
            _above(prompt.trace, is_remote=False),
            kind=SpanKind.CLIENT,
            attributes={
                **attempt_attributes(prompt, backend=backend),
                **sampling_attributes(prompt),
                "holdfast.attempt": number,
            },
        )
        return _AttemptSpan(span, replace(prompt, trace=_place(span, prompt.trace)))

    def emit(self, event: Event) -> None:
        """Add `event` to the current span."""
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(f"holdfast.{event.name}", event_attributes(event))


class _RequestSpan:
    __slots__ = ("_span", "request")

    def __init__(self, span: Span, request: Request) -> None:
        self.request = request
        self._span = _Current(span)

    def end(self, *, reply: Reply | None, error: BaseException | None) -> None:
        span = self._span.span
        if reply is not None:
            span.set_attributes(reply_attributes(reply))
        elif error is None:
            span.set_attribute(ERROR_TYPE, CANCELLED)
        self._span.end(error)


class _AttemptSpan:
    __slots__ = ("_span", "prompt")

    def __init__(self, span: Span, prompt: Prompt) -> None:
        self.prompt = prompt
        self._span = _Current(span)

    def end(self, *, completion: Completion | None, error: BaseException | None) -> None:
        if completion is not None:
            self._span.span.set_attributes(usage_attributes(completion))
        self._span.end(error)


class _Current:
    """A span that is the current one until it ends."""

    __slots__ = ("_before", "_inside", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._before = context.get_current()
        self._inside = trace.set_span_in_context(span)
        context.attach(self._inside)

    def end(self, error: BaseException | None) -> None:
        span = self.span
        if error is not None:
            kind = error_type(error)
            span.set_attribute(ERROR_TYPE, kind)
            if kind != CANCELLED:
                span.set_status(Status(StatusCode.ERROR))
        span.end()
        # No token: a stream may be left in another task than it was opened in, whose own span stays the current one.
        if context.get_current() is self._inside:
            context.attach(self._before)


def _above(place: TraceContext | None, *, is_remote: bool) -> Context | None:
    """Return the context of the span at `place`; None for the current one."""
    if place is None:
        return None
    above = SpanContext(
        int(place.trace_id, 16),
        int(place.span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if place.is_sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([place.state]),
    )
    return trace.set_span_in_context(NonRecordingSpan(above))


def _place(span: Span, before: TraceContext | None) -> TraceContext | None:
    own = span.get_span_context()
    if not own.is_valid:  # nobody traces, so what came in goes out as it is
        return before
    return TraceContext(
        trace_id=f"{own.trace_id:032x}",
        span_id=f"{own.span_id:016x}",
        is_sampled=own.trace_flags.sampled,
        state=own.trace_state.to_header(),
    )


_: type[Recorder] = OtelSpans
__: type[EventSink] = OtelSpans
